// What Flux makes of the live objects of every phase: kstatus, by which `wait: true` and `healthChecks` judge, and the
// expressions that deploy/gitops/flux ships, by Flux's own evaluator.
package flux

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/runtime/cel"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// A verdict of both where they agree, "kstatus, expressions" where they do not.
type expected map[string]map[string]string

func folder() string { return os.Getenv("CUTOVER_GITOPS") }

func parsed(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func object(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err = yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	// Whole numbers as integers, as a client of the API server has them.
	found := &unstructured.Unstructured{}
	if err := json.Unmarshal(text, found); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return found
}

// The example is what Flux takes, with the expressions that are shipped.
func TestFluxExample(t *testing.T) {
	read := func(path string, into any) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	examples := os.Getenv("CUTOVER_EXAMPLES")
	var source sourcev1.GitRepository
	read(filepath.Join(examples, "flux/source.yaml"), &source)
	var example, snippet kustomizev1.Kustomization
	read(filepath.Join(examples, "flux/kustomization.yaml"), &example)
	read(filepath.Join(folder(), "flux/health-checks.yaml"), &snippet)
	if example.Spec.SourceRef.Name != source.Name || example.Spec.SourceRef.Kind != source.Kind {
		t.Errorf("the source is %v", example.Spec.SourceRef)
	}
	if !example.Spec.Wait || !reflect.DeepEqual(example.Spec.HealthCheckExprs, snippet.Spec.HealthCheckExprs) {
		t.Errorf("the expressions of the example are not those of deploy/gitops/flux")
	}
}

func TestFluxHealth(t *testing.T) {
	var all expected
	parsed(t, "expect.yaml", &all)
	var snippet kustomizev1.Kustomization
	parsed(t, filepath.Join(folder(), "flux/health-checks.yaml"), &snippet)
	if _, err := cel.NewStatusReader(snippet.Spec.HealthCheckExprs); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"Cutover", "CutoverRun"} {
		var evaluator *cel.StatusEvaluator
		for _, check := range snippet.Spec.HealthCheckExprs {
			if check.Kind == kind && check.APIVersion == "cutover.dev/v1alpha1" {
				made, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
				if err != nil {
					t.Fatal(err)
				}
				evaluator = made
			}
		}
		files, err := filepath.Glob(filepath.Join(folder(), "argocd/resource_customizations/cutover.dev", kind, "testdata/*.yaml"))
		if err != nil || len(files) != len(all[kind]) {
			t.Errorf("%s: %d objects, %d expected (%v)", kind, len(files), len(all[kind]), err)
		}
		for _, path := range files {
			name := strings.TrimSuffix(filepath.Base(path), ".yaml")
			t.Run(kind+"/"+name, func(t *testing.T) {
				found := object(t, path)
				by, err := status.Compute(found)
				if err != nil {
					t.Fatal(err)
				}
				verdict := by.Status.String()
				if evaluator != nil {
					expressions, err := evaluator.Evaluate(t.Context(), found)
					if err != nil {
						t.Fatal(err)
					}
					if expressions.Status != by.Status {
						verdict += ", " + expressions.Status.String()
					}
				}
				if wanted := all[kind][name]; verdict != wanted {
					t.Errorf("it is %q, expected %q", verdict, wanted)
				}
			})
		}
	}
}
