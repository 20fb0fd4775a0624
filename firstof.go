package entra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// CredentialChain is a list of credentials that are tried in order, beginning with the one that
// worked last: two secrets of which one ends soon, a new certificate before its old one,
// a federated credential with a secret to fall back on. The next is tried when Entra
// refuses one, or when one cannot be loaded, or not in half of the time that is left. Each
// is tried once for a request, and what comes of the first that Entra accepts is the
// outcome. If none is accepted the error says what is wrong with each of them.
//
// The members may be [Reloading]: then what Entra refuses is loaded anew before the next
// member is tried. All must be credentials of the app.
func CredentialChain(list ...Credential) Credential {
	list = slices.Clone(list)
	var worked atomic.Int64 // the index of the one that worked last
	return Credential{
		id:    fmt.Sprintf("first:%d", values.Add(1)),
		check: func() *Error { return checkAll(list) },
		use: func(ctx context.Context, a *attempts) (*Error, verdict) {
			start := worked.Load()
			tried := make([]*Error, len(list))
			all := unusable
			spare := a.spare
			defer func() { a.spare = spare }()
			for n := range tried {
				i := int64(n)
				if n == 0 {
					i = start
				} else if i <= start {
					i--
				}
				a.spare = spare || n < len(tried)-1
				failed, v := list[i].use(ctx, a)
				if v == settled || ctx.Err() != nil {
					if failed == nil {
						// Whoever began later knows better.
						worked.CompareAndSwap(start, i)
					}
					return failed, v
				}
				tried[i] = failed
				if v == refused {
					all = refused
				}
				if n < len(tried)-1 {
					a.again(ctx, failed)
				}
			}
			return noneOf(tried), all
		},
	}
}

func checkAll(list []Credential) *Error {
	if len(list) == 0 {
		return refuse("invalid_client", "FirstOf has no credentials")
	}
	for i, c := range list {
		if c.use == nil {
			return refuse("invalid_client", "the credential %d of FirstOf is missing", i+1)
		}
		if wrong := c.check(); wrong != nil {
			wrong := *wrong
			wrong.Description = fmt.Sprintf("the credential %d of FirstOf: %s", i+1, wrong.Description)
			return &wrong
		}
	}
	return nil
}

// noneOf makes one error of those of all credentials, in the order of the list. It is
// temporary if one of them is, since that credential may work later, and otherwise has the
// status and the IDs of the first refusal.
func noneOf(failed []*Error) *Error {
	if len(failed) == 1 {
		return failed[0]
	}
	rank := func(e *Error) int {
		switch {
		case e.Temporary():
			return 2
		case e.StatusCode != 0: // Entra's own word
			return 1
		}
		return 0
	}
	all := *slices.MaxFunc(failed, func(a, b *Error) int { return cmp.Compare(rank(a), rank(b)) })
	var texts []string
	var causes []error
	numbers := slices.Clone(all.AADSTS)
	for i, e := range failed {
		texts = append(texts, fmt.Sprintf("%d: %s", i+1, redactor{}.text(e.Description, 300)))
		causes = append(causes, e.Err)
		for _, n := range e.AADSTS {
			if !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
		}
	}
	all.Description = "none of the credentials works; " + strings.Join(texts, "; ")
	all.AADSTS = numbers
	all.Err = errors.Join(causes...)
	return &all
}
