package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestMiddleTier(t *testing.T) {
	t.Setenv("ENTRA_CLIENT_SECRET", "")
	var out bytes.Buffer
	if err := run(t.Context(), &out, "localhost:0"); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^The API serves http://\S+/desk to callers with the scope access_as_user and calls https://\S+/orders for them\.
Called for nobody it answers 401 Unauthorized: the request has no bearer token; [^\n]+
Called for Alice it answers 200 OK: \{"api":"api-a",.*"flow":"on_behalf_of".*"next":\{"api":"api-b",.*"subject":"Alice Adams".*"scp":"Orders.Read".*\}\}
$`)
	if !want.Match(out.Bytes()) {
		t.Errorf("got\n%s", out.String())
	}
	if strings.Contains(out.String(), "eyJ") {
		t.Error("a token is shown")
	}
}
