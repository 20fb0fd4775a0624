// Command containers checks the Dockerfile and the compose file of package entratest without Docker. It parses both as
// Docker does, and compares the files that they name with the directory of its argument.
//
//	containers DIR
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// module is the path of the module whose command the image runs.
const module = "github.com/entratoken/entra"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: containers DIR")
		os.Exit(2)
	}
	dir := os.Args[1]
	findings, err := check(dir, filepath.Join(dir, "entratest/Dockerfile"), filepath.Join(dir, "entratest/compose.yaml"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "containers:", err)
		os.Exit(2)
	}
	for _, finding := range findings {
		fmt.Println(finding)
	}
	if len(findings) > 0 {
		os.Exit(1)
	}
}

// check returns the findings in a Dockerfile whose build context is dir, and in a compose file.
func check(dir, dockerfile, compose string) ([]string, error) {
	content, err := os.ReadFile(dockerfile)
	if err != nil {
		return nil, err
	}
	var findings []string
	for _, finding := range checkDockerfile(content, dir) {
		findings = append(findings, dockerfile+": "+finding)
	}
	for _, finding := range checkCompose(compose) {
		findings = append(findings, compose+": "+finding)
	}
	return findings, nil
}

// checkDockerfile returns syntax errors, warnings of BuildKit, base images without a version, files to copy that do not
// exist, and a final stage that runs as root.
func checkDockerfile(content []byte, dir string) []string {
	var findings []string
	file, err := parser.Parse(bytes.NewReader(content))
	if err != nil {
		return []string{err.Error()}
	}
	for _, warning := range file.Warnings {
		findings = append(findings, warning.Short)
	}
	rules := linter.New(&linter.Config{Warn: func(rule, _, _, message string, at []parser.Range) {
		findings = append(findings, fmt.Sprintf("line %d: %s: %s", at[0].Start.Line, rule, message))
	}})
	stages, _, err := instructions.Parse(file.AST, rules)
	if err != nil {
		return append(findings, err.Error())
	}
	names := map[string]bool{}
	for _, stage := range stages {
		if !names[stage.BaseName] && stage.BaseName != "scratch" && !strings.ContainsAny(stage.BaseName, ":@") ||
			strings.HasSuffix(stage.BaseName, ":latest") {
			findings = append(findings, "base image "+stage.BaseName+" has no version")
		}
		for _, command := range stage.Commands {
			if c, ok := command.(*instructions.CopyCommand); ok {
				findings = append(findings, checkCopy(c, names, dir)...)
			}
		}
		findings = append(findings, checkBuild(&stage, dir)...)
		names[stage.Name] = true
	}
	if len(stages) == 0 {
		return append(findings, "there are no stages")
	}
	return append(findings, checkFinal(&stages[len(stages)-1])...)
}

// checkCopy returns the sources of COPY that do not exist in dir, or the stage that does not exist.
func checkCopy(c *instructions.CopyCommand, stages map[string]bool, dir string) []string {
	if c.From != "" {
		if !stages[c.From] {
			return []string{"COPY from " + c.From + ": the stage does not exist"}
		}
		return nil
	}
	var findings []string
	for _, source := range c.SourcePaths {
		if found, err := filepath.Glob(filepath.Join(dir, source)); err != nil || len(found) == 0 {
			findings = append(findings, "COPY "+source+": the file does not exist")
		}
	}
	return findings
}

// checkBuild returns the packages that a "go build" imports and that the stage does not copy.
func checkBuild(stage *instructions.Stage, dir string) []string {
	var copied []string
	var findings []string
	for _, command := range stage.Commands {
		switch c := command.(type) {
		case *instructions.CopyCommand:
			copied = append(copied, c.SourcePaths...)
		case *instructions.RunCommand:
			_, arguments, found := strings.Cut(strings.Join(c.CmdLine, " "), "go build ")
			if !found {
				continue
			}
			words := strings.Fields(arguments)
			for _, imported := range packagesOutside(dir, words[len(words)-1], copied) {
				findings = append(findings, "go build imports "+imported+", which is not copied")
			}
		}
	}
	return findings
}

// packagesOutside returns the directories of the module dir that the package target imports, and that are not within
// the paths. It returns the error of the go command as a finding.
func packagesOutside(dir, target string, paths []string) []string {
	const format = "{{with .Module}}{{if .Main}}{{$.ImportPath}}{{end}}{{end}}"
	list := exec.CommandContext(context.Background(), "go", "list", "-deps", "-f", format, target)
	list.Dir = dir
	list.Env = append(os.Environ(), "GOWORK=off")
	output, err := list.CombinedOutput()
	if err != nil {
		return []string{fmt.Sprintf("%s (%v)", output, err)}
	}
	var outside []string
	for _, imported := range strings.Fields(string(output)) {
		path := strings.TrimPrefix(imported, module+"/")
		if !slices.ContainsFunc(paths, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") }) {
			outside = append(outside, path)
		}
	}
	return outside
}

// checkFinal returns findings if the image runs as root, or in a shell, which does not pass signals on.
func checkFinal(stage *instructions.Stage) []string {
	var findings []string
	user := "root"
	for _, command := range stage.Commands {
		switch c := command.(type) {
		case *instructions.UserCommand:
			user = c.User
		case *instructions.EntrypointCommand:
			if c.PrependShell {
				findings = append(findings, "ENTRYPOINT runs in a shell")
			}
		case *instructions.CmdCommand:
			if c.PrependShell {
				findings = append(findings, "CMD runs in a shell")
			}
		}
	}
	if user == "root" || user == "0" {
		findings = append(findings, "the container runs as root")
	}
	return findings
}

// checkCompose returns the error of Docker Compose's schema, and Dockerfiles that do not exist.
func checkCompose(path string) []string {
	project, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  filepath.Dir(path),
		ConfigFiles: []types.ConfigFile{{Filename: path}},
	}, func(o *loader.Options) { o.SetProjectName("entratest", true) })
	if err != nil {
		return []string{err.Error()}
	}
	var findings []string
	for _, service := range project.Services {
		if service.Build == nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(service.Build.Context, service.Build.Dockerfile)); err != nil {
			findings = append(findings, err.Error())
		}
	}
	return findings
}
