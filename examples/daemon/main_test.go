package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestDaemon(t *testing.T) {
	t.Setenv("ENTRA_CLIENT_SECRET", "")
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	const answer = `The API answers: {"api":"api-b","caller":{"kind":"app-only","subject":"aaaaaaaa-0000-4000-8000-00000000000d","audience":"aaaaaaaa-0000-4000-8000-00000000000b","roles":"Orders.Read.All"},"orders":["1017 Ladder","1018 Rope, 20 m","1019 Helmet"]}` + "\n"
	want := "A token for api://api-b/.default from Entra, which lives for N minutes.\n" + answer +
		"A token for api://api-b/.default from the cache, which lives for N minutes.\n" + answer
	if got := regexp.MustCompile(`for \d+ minutes`).ReplaceAllString(out.String(), "for N minutes"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if strings.Contains(out.String(), "eyJ") {
		t.Error("a token is shown")
	}
}
