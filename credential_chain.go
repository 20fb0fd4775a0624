package entra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/entratoken/entra/internal/redact"
)

// CredentialChain returns a credential that tries several in order, beginning with the last
// one that worked. For example, it tries a new certificate before the old one, or a
// federated credential before a secret. The next one is tried if Entra rejects a credential,
// or if it cannot be loaded. Every other outcome is final. If none works, the error
// describes the failure of each. The slice creds is copied.
//
// A [CredentialFunc] in the chain is reloaded after a rejection, before the next credential
// is tried. All credentials must belong to the app.
func CredentialChain(creds ...Credential) Credential {
	creds = slices.Clone(creds)
	var first atomic.Int64 // the index of the credential that worked last
	return Credential{
		id:       fmt.Sprintf("chain:%d", serials.Add(1)),
		validate: func() *Error { return validateChain(creds) },
		start: func(depth int) candidates {
			start := first.Load()
			order := []int{int(start)}
			for i := range creds {
				if i != int(start) {
					order = append(order, i)
				}
			}
			return &chain{
				creds: creds, first: &first, start: start, order: order, depth: depth, failed: make([]*Error, len(creds)),
			}
		},
	}
}

func validateChain(creds []Credential) *Error {
	if len(creds) == 0 {
		return errorf("invalid_client", "CredentialChain has no credentials")
	}
	for i, c := range creds {
		if c.start == nil {
			return errorf("invalid_client", "credential %d of CredentialChain is the zero Credential", i+1)
		}
		if invalid := c.validate(); invalid != nil {
			return errorf(invalid.Code, "credential %d of CredentialChain: %s", i+1, invalid.Description)
		}
	}
	return nil
}

// chain yields the candidates of each credential of a [CredentialChain].
type chain struct {
	creds []Credential
	first *atomic.Int64
	start int64 // first, when the request began
	order []int // indexes of creds; those that have failed are cut off its front
	depth int

	current  candidates // of the front of order; nil before its first candidate
	failed   []*Error   // by index; nil if not tried yet
	tried    []*Error   // failures since the last candidate
	rejected bool       // Entra rejected at least one
}

func (c *chain) next(ctx context.Context, prev *failure, more bool) (*candidate, *failure) {
	for len(c.order) > 0 {
		i := c.order[0]
		if c.current == nil {
			c.current, prev = c.creds[i].start(c.depth), nil
		}
		cand, f := c.current.next(ctx, prev, more || len(c.order) > 1)
		if cand != nil {
			cand.tried = append(c.tried, cand.tried...)
			c.tried = nil
			return cand, nil
		}
		if ctx.Err() != nil {
			return nil, f
		}
		c.failed[i], c.tried = f.err, append(c.tried, f.err)
		c.rejected = c.rejected || f.rejected
		c.order, c.current = c.order[1:], nil
	}
	return nil, &failure{joinFailures(c.failed), c.rejected}
}

func (c *chain) accepted() {
	c.current.accepted()
	c.first.CompareAndSwap(c.start, int64(c.order[0])) // unless a request that began later was faster
}

// joinFailures returns one error for the failures of all credentials, in their order. It is
// temporary if one of them is, since that credential may work later. Otherwise it has the
// status and the IDs of the first rejection.
func joinFailures(failed []*Error) *Error {
	if len(failed) == 1 {
		return failed[0]
	}
	rank := func(e *Error) int {
		switch {
		case e.Temporary():
			return 2
		case !e.Local():
			return 1
		}
		return 0
	}
	all := *slices.MaxFunc(failed, func(a, b *Error) int { return cmp.Compare(rank(a), rank(b)) })
	var texts []string
	var causes []error
	numbers := slices.Clone(all.AADSTS)
	for i, e := range failed {
		texts = append(texts, fmt.Sprintf("%d: %s", i+1, redact.Text(e.Description, 300)))
		causes = append(causes, e.Err)
		for _, n := range e.AADSTS {
			if !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
		}
	}
	all.Description = "no credential works: " + strings.Join(texts, "; ")
	all.AADSTS = numbers
	all.Err = errors.Join(causes...)
	return &all
}
