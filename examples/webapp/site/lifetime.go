package site

import (
	"fmt"
	"strings"
	"time"

	"github.com/entratoken/entra/examples/hops"
)

// lifetime is the lifetime of a token, drawn as a bar.
type lifetime struct {
	Elapsed, Refresh, Rest string // now, the refresh point, and the time from there to expiry, in percent of the bar
	Left                   int    // seconds until expiry, at least 1

	HasRefresh bool // the token has a refresh point
	Due        bool // the refresh point has passed, so the next call starts a refresh
	Expired    bool

	Age, Total, ExpiresIn, RefreshIn string // in words
	Anchor                           string // text-anchor of RefreshIn
}

func newLifetime(t hops.Token) *lifetime {
	now, total := time.Now(), max(t.Expires.Sub(t.Obtained), 1)
	part := func(to time.Time) float64 {
		return min(100, max(0, 100*float64(to.Sub(t.Obtained))/float64(total)))
	}
	refresh := 100.0
	l := &lifetime{
		Age: short(now.Sub(t.Obtained)), Total: short(total), ExpiresIn: short(t.Expires.Sub(now)),
		Left: max(1, int(t.Expires.Sub(now).Seconds())), Expired: !now.Before(t.Expires),
		RefreshIn: "expires with the caller's token", Anchor: "middle",
	}
	if !t.Refresh.IsZero() {
		refresh, l.HasRefresh, l.Due = part(t.Refresh), true, now.After(t.Refresh)
		l.RefreshIn = "refresh in " + short(t.Refresh.Sub(now))
		switch {
		case l.Expired:
			l.Due, l.RefreshIn = false, "refresh was due"
		case l.Due:
			l.RefreshIn = "refresh due"
		}
	}
	switch {
	case refresh < 25:
		l.Anchor = "start"
	case refresh > 80:
		l.Anchor = "end"
	}
	l.Elapsed, l.Refresh, l.Rest = percent(part(now)), percent(refresh), percent(100-refresh)
	return l
}

// Sentence describes the bar to screen readers.
func (l *lifetime) Sentence() string {
	end := "expires in " + l.ExpiresIn
	if l.Expired {
		end = "expired"
	}
	return fmt.Sprintf("The token's lifetime of %s: acquired %s ago, %s, %s.", l.Total, l.Age, l.RefreshIn, end)
}

func percent(p float64) string { return fmt.Sprintf("%.2f", p) }

// short formats a duration for people.
func short(d time.Duration) string {
	if d = max(0, d).Round(time.Second); d < time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	if d < 10*time.Minute {
		return strings.TrimSuffix(fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60), " 0 s")
	}
	return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
}
