package verify_test

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

// Claims that were kept are those that were verified, in the same order, but for the nonce.
func TestClaimsAreKept(t *testing.T) {
	server := entratest.NewServer(entratest.Sample())
	v, err := verify.New(verify.Config{
		Audiences: []string{server.App("webapp").ClientID, server.App("api-a").ClientID}, Tenants: []string{entratest.SampleTenant},
		HTTPClient: server.Client(),
	})
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.IDToken(t.Context(), server.Mint(entratest.MintOptions{
		IDToken: true, Resource: "webapp", User: "alice@contoso.onmicrosoft.com", Nonce: "n",
		Claims: map[string]any{"odd\"<name>": "x", "roles": []string{"A", "B"}, "groups": []string{"g"}},
	}), "n")
	if err != nil {
		t.Fatal(err)
	}
	access, err := v.Verify(t.Context(), server.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com"}))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*verify.Claims{"ID token": id, "access token": access.Claims()} {
		kept, err := c.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(kept) || strings.Contains(string(kept), `"nonce"`) {
			t.Errorf("%s: kept as %s", name, kept)
		}
		var again verify.Claims
		if err := again.UnmarshalBinary(kept); err != nil {
			t.Fatal(err)
		}
		names := slices.DeleteFunc(slices.Collect(c.Names()), func(n string) bool { return n == "nonce" })
		if got := slices.Collect(again.Names()); !slices.Equal(got, names) {
			t.Errorf("%s: %v, want %v", name, got, names)
		}
		for _, n := range names {
			var was, is any
			if c.Decode(n, &was) != nil || again.Decode(n, &is) != nil || !reflect.DeepEqual(was, is) {
				t.Errorf("%s: %s is %v, was %v", name, n, is, was)
			}
		}
		before, after := fields(t, *c), fields(t, again)
		if !maps.EqualFunc(before, after, func(a, b any) bool { return reflect.DeepEqual(a, b) }) {
			t.Errorf("%s: %v, want %v", name, after, before)
		}
	}
}

func fields(t *testing.T, c verify.Claims) map[string]any {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// What is no claims is refused, and changes nothing.
func TestClaimsAreNotKept(t *testing.T) {
	if _, err := new(verify.Claims).MarshalBinary(); err == nil {
		t.Error("claims of no token are kept")
	}
	c := verify.Claims{Name: "before"}
	for text, reason := range map[string]verify.Reason{
		"": verify.ReasonBadJSON, "null": verify.ReasonBadJSON, "[]": verify.ReasonBadJSON, `{"tid":1}`: verify.ReasonBadClaim, `{"a":1,"a":2}`: verify.ReasonDuplicateMember,
		`{"roles":1}`: verify.ReasonBadClaim, "{\"a\":\"\xff\"}": verify.ReasonBadUTF8, `{"a":"` + strings.Repeat("x", verify.MaxTokenSize) + `"}`: verify.ReasonTooLarge,
	} {
		err := c.UnmarshalBinary([]byte(text))
		if !errors.Is(err, &verify.Error{Reason: reason}) || c.Name != "before" {
			t.Errorf("%.40q: %v, want %s", text, err, reason)
		}
	}
}
