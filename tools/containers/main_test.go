package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const goodDockerfile = `FROM golang:1.26-alpine AS build
COPY go.mod entratest internal/aadsts ./
RUN CGO_ENABLED=0 go build -o /entratest ./entratest/cmd/entratest

FROM alpine:3.22
COPY --from=build /entratest /usr/local/bin/entratest
USER entratest
ENTRYPOINT ["entratest"]
CMD ["-listen", "entra:8443"]
`

func TestDockerfile(t *testing.T) {
	for _, tt := range []struct{ name, old, replacement, want string }{
		{"good", "", "", ""},
		{"unknown instruction", "USER entratest", "USRE entratest", "unknown instruction: USRE"},
		{"unknown flag", "COPY --from=build", "COPY --form=build", "unknown flag: --form"},
		{"JSON with a typing error", `CMD ["-listen", "entra:8443"]`, `CMD ["-listen", "entra:8443"`, "CMD runs in a shell"},
		{"casing", "AS build", "as build", "FromAsCasing"},
		{"no version", "alpine:3.22", "alpine", "base image alpine has no version"},
		{"latest version", "alpine:3.22", "alpine:latest", "base image alpine:latest has no version"},
		{"missing file", "COPY go.mod", "COPY go.mod missing", "COPY missing: the file does not exist"},
		{"missing stage", "--from=build", "--from=builder", "COPY from builder: the stage does not exist"},
		{"missing package", " internal/aadsts", "", "go build imports internal/aadsts, which is not copied"},
		{"root", "USER entratest\n", "", "the container runs as root"},
		{"shell", `ENTRYPOINT ["entratest"]`, "ENTRYPOINT entratest", "ENTRYPOINT runs in a shell"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			content := goodDockerfile
			if tt.old != "" {
				content = strings.Replace(content, tt.old, tt.replacement, 1)
			}
			got := checkDockerfile([]byte(content), "../..")
			if tt.want == "" && len(got) > 0 ||
				tt.want != "" && !slices.ContainsFunc(got, func(f string) bool { return strings.Contains(f, tt.want) }) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCompose(t *testing.T) {
	const good = "services:\n  entra:\n    build: {context: ., dockerfile: Dockerfile}\n    ports: [\"127.0.0.1:8443:8443\"]\n"
	for _, tt := range []struct{ name, old, replacement, want string }{
		{"good", "", "", ""},
		{"unknown key", "ports", "prots", "prots"},
		{"undefined volume", "    ports", "    volumes: [\"state:/state\"]\n    ports", "undefined volume state"},
		{"missing Dockerfile", "dockerfile: Dockerfile", "dockerfile: Missing", "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "compose.yaml")
			for name, content := range map[string]string{
				path: strings.Replace(good, tt.old, tt.replacement, 1), filepath.Join(filepath.Dir(path), "Dockerfile"): "",
			} {
				if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := strings.Join(checkCompose(path), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
