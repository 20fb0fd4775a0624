package entraotel

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/entratoken/entra/signin"
)

// SignIn returns a copy of cfg whose sign-ins t exports. OnEvent of cfg is called, too.
func (t *Telemetry) SignIn(cfg signin.Config) signin.Config {
	cfg.OnEvent = chain(t.countSignIn, cfg.OnEvent)
	return cfg
}

// countSignIn records an event of package signin.
func (t *Telemetry) countSignIn(e signin.Event) {
	ctx := context.Background()
	if e.Kind == signin.EventStarted {
		t.signInStarts.Add(ctx, 1)
		return
	}
	outcome := strings.ReplaceAll(string(e.Kind), " ", "_")
	attrs := withError([]attribute.KeyValue{attribute.String("entra.signin.outcome", outcome)}, string(e.Problem))
	t.signInOutcomes.Add(ctx, 1, metric.WithAttributes(attrs...))
}
