package archtest

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// A listed package is the part we read of what go list tells.
type listed struct {
	Dir, ImportPath, Name              string
	Module                             struct{ Path string }
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
}

// load lists the packages of this module as they are for one architecture.
// Cgo is on, since a file that needs it is invisible otherwise.
func load(t *testing.T, goarch string) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=Dir,ImportPath,Name,Module,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "GOARCH="+goarch, "CGO_ENABLED=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	assert.NilError(t, err, stderr.String())

	var pkgs []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else {
			assert.NilError(t, err)
		}
		pkgs = append(pkgs, p)
	}
	assert.Assert(t, len(pkgs) > 1, "go list found no packages")

	// What a child process reads is unknown to the cache of test results: looking
	// at every folder ourselves is what makes a changed import run the test again.
	assert.NilError(t, filepath.WalkDir(cmd.Dir, func(name string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		return err
	}))
	return pkgs
}

// path returns the package's path within the module.
func (l listed) path() string {
	return strings.TrimPrefix(strings.TrimPrefix(l.ImportPath, l.Module.Path), "/")
}

// rules returns what the rules look at.
func (l listed) rules() pkg {
	ours := func(imports []string) []string {
		relative := make([]string, len(imports))
		for i, imp := range imports {
			if imp == l.Module.Path {
				imp += "/"
			}
			if rest, ok := strings.CutPrefix(imp, l.Module.Path+"/"); ok {
				imp = "./" + rest
			}
			relative[i] = imp
		}
		return relative
	}
	return pkg{l.path(), ours(l.Imports), append(ours(l.TestImports), ours(l.XTestImports)...)}
}
