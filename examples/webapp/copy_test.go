package main

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A copy of the directory without fake.go compiles outside of this module.
func TestCanBeCopied(t *testing.T) {
	var files []string
	for _, pattern := range []string{"*.go", "site/*.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	files = slices.DeleteFunc(files, func(name string) bool {
		return name == "fake.go" || strings.HasSuffix(name, "_test.go")
	})
	if len(files) < 5 {
		t.Fatalf("got files %v", files)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if strings.Contains(i.Path.Value, "/internal/") || strings.Contains(i.Path.Value, "examples/contoso") {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
}
