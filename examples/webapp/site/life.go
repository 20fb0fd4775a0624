package site

import (
	"fmt"
	"strings"
	"time"

	"github.com/entratoken/entra/examples/hops"
)

// life is the life of a token, drawn as a bar. What ends in "%" there is a part of the whole.
type life struct {
	Over, Refresh, Rest string // now, where it becomes early, and from there to the end, in percent
	Left                int    // seconds until the end, at least 1
	Refreshed           bool   // it has a refresh point
	Early               bool   // and is past it, and still good: the next call fetches its successor
	Ended               bool

	Held, Whole, Ends, RefreshIn string // in words
	Anchor                       string // on which side of the refresh point the words are
}

func lifeOf(t hops.Token) *life {
	now, whole := time.Now(), max(t.Expires.Sub(t.Obtained), 1)
	part := func(to time.Time) float64 {
		return min(100, max(0, 100*float64(to.Sub(t.Obtained))/float64(whole)))
	}
	refresh := 100.0
	l := &life{
		Held: short(now.Sub(t.Obtained)), Whole: short(whole), Ends: short(t.Expires.Sub(now)),
		Left: max(1, int(t.Expires.Sub(now).Seconds())), Ended: !now.Before(t.Expires),
		RefreshIn: "ends with the caller's token", Anchor: "middle",
	}
	if !t.Refresh.IsZero() {
		refresh, l.Refreshed, l.Early = part(t.Refresh), true, now.After(t.Refresh)
		l.RefreshIn = "refresh in " + short(t.Refresh.Sub(now))
		switch {
		case l.Ended:
			l.Early, l.RefreshIn = false, "refresh was due"
		case l.Early:
			l.RefreshIn = "refresh due"
		}
	}
	switch {
	case refresh < 25:
		l.Anchor = "start"
	case refresh > 80:
		l.Anchor = "end"
	}
	l.Over, l.Refresh, l.Rest = percent(part(now)), percent(refresh), percent(100-refresh)
	return l
}

// Sentence says what the bar shows, to who does not see it.
func (l *life) Sentence() string {
	end := "ends in " + l.Ends
	if l.Ended {
		end = "has ended"
	}
	return fmt.Sprintf("The token's life of %s: got %s ago, %s, %s.", l.Whole, l.Held, l.RefreshIn, end)
}

func percent(p float64) string { return fmt.Sprintf("%.2f", p) }

// short writes a duration as a person would say it.
func short(d time.Duration) string {
	if d = max(0, d).Round(time.Second); d < time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	if d < 10*time.Minute {
		return strings.TrimSuffix(fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60), " 0 s")
	}
	return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
}
