// Built within the module of Argo CD, into the package of its tests (see ../tools): the same objects through `argocd-cm`,
// where scripts have no libraries of Lua, and exactly the actions that are expected.
package lua

import (
	"os"
	"path/filepath"
	"sort"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	appv1 "github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
)

const customizations = "../../resource_customizations/cutover.dev"

func parsed(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, into))
}

// settings are what Argo CD makes of argocd-cm.yaml.
func settings(t *testing.T) map[string]appv1.ResourceOverride {
	t.Helper()
	var config struct{ Data map[string]string }
	parsed(t, filepath.Join(os.Getenv("CUTOVER_GITOPS"), "argocd/argocd-cm.yaml"), &config)
	require.Len(t, config.Data, 3)
	const prefix = "resource.customizations."
	return map[string]appv1.ResourceOverride{
		"cutover.dev/Cutover": {
			HealthLua: config.Data[prefix+"health.cutover.dev_Cutover"],
			Actions:   config.Data[prefix+"actions.cutover.dev_Cutover"],
		},
		"cutover.dev/CutoverRun": {HealthLua: config.Data[prefix+"health.cutover.dev_CutoverRun"]},
	}
}

func TestCutoverHealthBySettings(t *testing.T) {
	vm := VM{ResourceOverrides: settings(t)}
	for _, kind := range []string{"Cutover", "CutoverRun"} {
		var tests TestStructure
		parsed(t, filepath.Join(customizations, kind, "health_test.yaml"), &tests)
		for _, test := range tests.Tests {
			t.Run(kind+"/"+test.InputPath, func(t *testing.T) {
				obj := getObj(t, filepath.Join(customizations, kind, test.InputPath))
				script, open, err := vm.GetHealthScript(obj)
				require.NoError(t, err)
				require.False(t, open)
				result, err := vm.ExecuteHealthLua(obj, script)
				require.NoError(t, err)
				assert.Equal(t, &test.HealthStatus, result)
			})
		}
	}
}

// Argo CD's own test asks only that each action found is among those expected.
func TestCutoverActions(t *testing.T) {
	folder := filepath.Join(customizations, "Cutover/actions")
	var tests ActionTestStructure
	parsed(t, filepath.Join(folder, "action_test.yaml"), &tests)
	inputs, err := filepath.Glob(filepath.Join(customizations, "Cutover/testdata/*.yaml"))
	require.NoError(t, err)
	require.Len(t, tests.DiscoveryTests, len(inputs))
	for name, vm := range map[string]VM{"built-in": {}, "settings": {ResourceOverrides: settings(t)}} {
		for _, test := range tests.DiscoveryTests {
			t.Run(name+"/"+test.InputPath, func(t *testing.T) {
				obj := getObj(t, filepath.Join(folder, test.InputPath))
				scripts, err := vm.GetResourceActionDiscovery(obj)
				require.NoError(t, err)
				found, err := vm.ExecuteResourceActionDiscovery(obj, scripts)
				require.NoError(t, err)
				sort.Slice(found, func(i, j int) bool { return found[i].Name < found[j].Name })
				assert.Equal(t, test.Result, found)
				for _, action := range found {
					definition, err := vm.GetResourceAction(obj, action.Name)
					require.NoError(t, err)
					made, err := vm.ExecuteResourceAction(obj, definition.ActionLua, nil)
					if action.Disabled {
						continue
					}
					require.NoError(t, err)
					require.Len(t, made, 1)
					assert.Equal(t, CreateOperation, made[0].K8SOperation)
					assert.Equal(t, "CutoverDecision", made[0].UnstructuredObj.GetKind())
				}
			})
		}
	}
}

// The example is what Argo CD takes, and its project permits what the actions make.
func TestCutoverExample(t *testing.T) {
	read := func(name string, into any) {
		text, err := os.ReadFile(filepath.Join(os.Getenv("CUTOVER_EXAMPLES"), "argocd", name))
		require.NoError(t, err)
		require.NoError(t, yaml.UnmarshalStrict(text, into))
	}
	var app appv1.Application
	read("application.yaml", &app)
	var project appv1.AppProject
	read("project.yaml", &project)
	require.NoError(t, project.ValidateProject())
	assert.Equal(t, project.Name, app.Spec.Project)
	assert.True(t, project.IsSourcePermitted(*app.Spec.Source))
	assert.True(t, app.Spec.SyncPolicy.SyncOptions.HasOption("RespectIgnoreDifferences=true"))
	require.Len(t, app.Spec.IgnoreDifferences, 1)
	assert.Equal(t, []string{"/spec/selector"}, app.Spec.IgnoreDifferences[0].JSONPointers)
	server := &appv1.Cluster{Server: app.Spec.Destination.Server}
	for _, kind := range []schema.GroupKind{
		{Kind: "Service"}, {Group: "apps", Kind: "Deployment"}, {Group: "cutover.dev", Kind: "Cutover"},
		{Group: "cutover.dev", Kind: "CutoverDecision"},
	} {
		permitted, err := project.IsResourcePermitted(kind, app.Spec.Destination.Namespace, server, nil)
		require.NoError(t, err)
		assert.True(t, permitted, kind.String())
	}
}
