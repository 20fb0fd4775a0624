package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/examples/hops"
	"github.com/entratoken/entra/obo"
	"github.com/entratoken/entra/verify"
)

// A job is an export of a user's orders. It goes on after the request of the user, and after a sign-out.
type job struct {
	Delegation obo.Delegation // contains no secret
	Calls      int            // that are left
}

const (
	exportCalls = 5
	exportPause = time.Second // between the calls
)

// A queue has the jobs of the worker. Only the desk and the worker may write to it.
type queue interface {
	put(ctx context.Context, j job) error
	take(ctx context.Context) (j job, ok bool, err error) // does not wait for a job
}

// redisQueue is a list in Redis. A real queue also returns the jobs of a worker that was killed.
type redisQueue struct{ client redis.UniversalClient }

const queueName = "exports"

func (q redisQueue) put(ctx context.Context, j job) error {
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return q.client.RPush(ctx, queueName, b).Err()
}

func (q redisQueue) take(ctx context.Context) (j job, ok bool, err error) {
	b, err := q.client.LPop(ctx, queueName).Bytes()
	if errors.Is(err, redis.Nil) {
		return job{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &j)
	}
	return j, err == nil, err
}

// memoryQueue is the queue of one process.
type memoryQueue chan job

func (q memoryQueue) put(_ context.Context, j job) error {
	q <- j
	return nil
}

func (q memoryQueue) take(context.Context) (j job, ok bool, err error) {
	select {
	case j = <-q:
		return j, true, nil
	default:
		return job{}, false, nil
	}
}

// orderExport begins a delegation for the caller and hands it to the worker. A real API has a POST for it; the pages of
// this web app only read.
func orderExport(client *entra.Client, jobs queue) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		caller, ok := verify.TokenFromContext(r.Context())
		if !ok {
			http.Error(w, "the caller's token was not validated", http.StatusInternalServerError)
			return
		}
		d, err := obo.Begin(r.Context(), client, caller, ordersScope)
		if obo.WriteError(w, err) {
			return
		}
		if err := jobs.put(r.Context(), job{d, exportCalls}); err != nil {
			obo.End(context.WithoutCancel(r.Context()), client, d) //nolint:errcheck // no worker knows it
			http.Error(w, "the export was not ordered", http.StatusServiceUnavailable)
			return
		}
		claims := caller.Claims()
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(hops.Response{
			API: "api-a", Caller: hops.CallerOf(claims), Items: []string{"Ordered for " + claims.Name},
		})
	}
}

// exporter runs the jobs. It is the same app as the desk, so it can resume the desk's delegations.
type exporter struct {
	client *entra.Client
	orders string // URL of the API
	jobs   queue
	out    io.Writer
	all    sync.WaitGroup
}

// start starts all jobs in the queue.
func (e *exporter) start(ctx context.Context) {
	for {
		j, ok, err := e.jobs.take(context.WithoutCancel(ctx))
		if err != nil {
			fmt.Fprintln(e.out, "take a job:", err)
		}
		if !ok {
			return
		}
		e.all.Go(func() { e.run(ctx, j) })
	}
}

// run runs a job and returns it to the queue if it should go on later.
func (e *exporter) run(ctx context.Context, j job) {
	err := e.export(ctx, &j)
	var failed *entra.Error
	switch {
	case err == nil:
		fmt.Fprintln(e.out, exportDone)
		return
	case ctx.Err() != nil: // another worker resumes the delegation
	case errors.As(err, &failed) && failed.Temporary(): // such as a failed store
	default: // the user must order the export again if failed.InteractionRequired
		fmt.Fprintln(e.out, "export:", err)
		return
	}
	if err := e.jobs.put(context.WithoutCancel(ctx), j); err != nil {
		fmt.Fprintln(e.out, "return a job:", err)
	}
}

// export calls the API for the user until no call is left, and ends the delegation. The token of Begin is for another
// set of scopes, so the worker redeems the refresh token.
func (e *exporter) export(ctx context.Context, j *job) error {
	source := obo.Resume(e.client, j.Delegation, ordersAll)
	for ; j.Calls > 0; j.Calls-- {
		if _, err := hops.Get(ctx, source, nil, e.orders+exportPath+"?user="+j.Delegation.ObjectID); err != nil {
			return err
		}
		select {
		case <-time.After(exportPause):
		case <-ctx.Done():
		}
	}
	return obo.End(ctx, e.client, j.Delegation)
}
