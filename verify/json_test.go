package verify

import (
	"testing"
	"time"
)

func TestTimesAreSecondsSince1970(t *testing.T) {
	for _, test := range []struct {
		text string
		want int64 // negative if the text is rejected
	}{
		{"0", 0},
		{"1", 1},
		{"1.9", 1},
		{"1e3", 1000},
		{"253402300799", 253402300799},
		{"2534023007990e-1", 253402300799},
		{"253402300800", -1},
		{"253402300799.5", -1},
		{"1e300", -1},
		{"1e999", -1},
		{"-1", -1},
		{"-1.5", -1},
		{`"1"`, -1},
		{"true", -1},
		{"null", -1},
		{"[1]", -1},
	} {
		got, ok := timeValue(test.text)
		if ok != (test.want >= 0) || ok && !got.Equal(time.Unix(test.want, 0)) {
			t.Errorf("%s: got %v, %v, want %d", test.text, got, ok, test.want)
		}
	}
}
