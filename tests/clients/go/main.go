// Command go walks the main job against a running platform with the generated Go client over grpc-go.
//
// It reads SLIPWAY_ADDRESS, SLIPWAY_TOKEN and SLIPWAY_SERVICE, asks on standard output for a pull request
// ("PULL REQUEST <repository>") and reads "<number> <head sha>" from standard input. It ends with "OK" or an error.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	accessv1 "github.com/slipway-dev/slipway/gen/go/slipway/access/v1"
	catalogv1 "github.com/slipway-dev/slipway/gen/go/slipway/catalog/v1"
	environmentv1 "github.com/slipway-dev/slipway/gen/go/slipway/environment/v1"
	metricsv1 "github.com/slipway-dev/slipway/gen/go/slipway/metrics/v1"
	scaffoldingv1 "github.com/slipway-dev/slipway/gen/go/slipway/scaffolding/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := walk(ctx); err != nil {
		fmt.Println("FAILED", err)
		os.Exit(1)
	}
	fmt.Println("OK")
}

func walk(ctx context.Context) error {
	connection, err := grpc.NewClient(os.Getenv("SLIPWAY_ADDRESS"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+os.Getenv("SLIPWAY_TOKEN"))
	name := os.Getenv("SLIPWAY_SERVICE")
	if _, err := accessv1.NewTokenServiceClient(connection).WhoAmI(ctx, &accessv1.WhoAmIRequest{}); err != nil {
		return fmt.Errorf("WhoAmI: %w", err)
	}
	repository, err := create(ctx, connection, name)
	if err != nil {
		return err
	}
	if err := look(ctx, connection, name); err != nil {
		return err
	}
	fmt.Println("PULL REQUEST", repository)
	var number int64
	var sha string
	if _, err := fmt.Fscan(bufio.NewReader(os.Stdin), &number, &sha); err != nil {
		return fmt.Errorf("reading the pull request: %w", err)
	}
	if err := preview(ctx, connection, name, number, sha); err != nil {
		return err
	}
	return measure(ctx, connection, name, repository, sha)
}

func create(ctx context.Context, connection *grpc.ClientConn, name string) (string, error) {
	runs := scaffoldingv1.NewRunServiceClient(connection)
	bad, err := structpb.NewStruct(map[string]any{"name": "Bad Name", "title": "x", "owner": "nobody", "system": "shop", "tier": "gold", "description": "x"})
	if err != nil {
		return "", err
	}
	_, err = runs.CreateRun(ctx, &scaffoldingv1.CreateRunRequest{Template: "templates/go-service", Parameters: bad})
	fields := violations(err)
	for _, part := range []string{"name", "tier"} {
		if !slices.ContainsFunc(fields, func(field string) bool { return strings.Contains(field, part) }) {
			return "", fmt.Errorf("a wrong %s is not named: %w %v", part, err, fields)
		}
	}
	good, err := structpb.NewStruct(map[string]any{
		"name": name, "title": "Payments", "owner": "payments", "system": "shop", "tier": "critical", "description": "Takes money.",
	})
	if err != nil {
		return "", err
	}
	request := &scaffoldingv1.CreateRunRequest{Template: "templates/go-service", Parameters: good, RequestId: uuid()}
	run, err := runs.CreateRun(ctx, request)
	if err != nil {
		return "", fmt.Errorf("CreateRun: %w", err)
	}
	again, err := runs.CreateRun(ctx, request)
	if err != nil || again.Name != run.Name {
		return "", fmt.Errorf("a repeated CreateRun made %v, not %s: %w", again.GetName(), run.Name, err)
	}
	if err := events(ctx, runs, run.Name); err != nil {
		return "", err
	}
	run, err = runs.WaitRun(ctx, &scaffoldingv1.WaitRunRequest{Name: run.Name, Timeout: durationpb.New(time.Minute)})
	if err != nil {
		return "", fmt.Errorf("WaitRun: %w", err)
	}
	if run.State != scaffoldingv1.RunState_RUN_STATE_SUCCEEDED {
		return "", fmt.Errorf("the run ended %s: %v", run.State, run.Error)
	}
	_, repository, _ := strings.Cut(run.Repository, "/")
	return repository, nil
}

// events follows the run to its end; sequence numbers have no gap.
func events(ctx context.Context, runs scaffoldingv1.RunServiceClient, run string) error {
	stream, err := runs.StreamRunEvents(ctx, &scaffoldingv1.StreamRunEventsRequest{Name: run})
	if err != nil {
		return fmt.Errorf("StreamRunEvents: %w", err)
	}
	for want := int64(1); ; want++ {
		event, err := stream.Recv()
		if err != nil {
			if !errors.Is(err, io.EOF) || want == 1 {
				return fmt.Errorf("StreamRunEvents after %d events: %w", want-1, err)
			}
			return nil
		}
		if event.Sequence != want {
			return fmt.Errorf("event %d came as %d", want, event.Sequence)
		}
	}
}

func look(ctx context.Context, connection *grpc.ClientConn, name string) error {
	entities := catalogv1.NewEntityServiceClient(connection)
	entity, err := entities.GetEntity(ctx, &catalogv1.GetEntityRequest{Name: "component:default/" + name})
	if err != nil {
		return fmt.Errorf("GetEntity: %w", err)
	}
	if entity.Owner != "group:default/payments" || entity.ServiceTier != catalogv1.ServiceTier_SERVICE_TIER_CRITICAL {
		return fmt.Errorf("the catalog shows owner %s, tier %s", entity.Owner, entity.ServiceTier)
	}
	list, err := entities.ListEntities(ctx, &catalogv1.ListEntitiesRequest{Filter: `kind = "component" AND name = "` + name + `"`})
	if err != nil || len(list.Entities) != 1 {
		return fmt.Errorf("ListEntities answered %d entities: %w", len(list.GetEntities()), err)
	}
	return nil
}

func preview(ctx context.Context, connection *grpc.ClientConn, name string, number int64, sha string) error {
	previews := environmentv1.NewPreviewServiceClient(connection)
	request := &environmentv1.EnsurePreviewRequest{
		Service: "component:default/" + name, PullRequest: number, HeadSha: strings.Repeat("0", 40),
		Images: map[string]string{"app": "ghcr.io/acme/" + name + "@sha256:" + strings.Repeat("a", 64)},
	}
	_, err := previews.EnsurePreview(ctx, request)
	if status.Code(err) != codes.FailedPrecondition || reason(err) != "STALE_COMMIT" {
		return fmt.Errorf("a stale commit is answered %w, reason %q", err, reason(err))
	}
	request.HeadSha = sha
	environment, err := previews.EnsurePreview(ctx, request)
	if err != nil {
		return fmt.Errorf("EnsurePreview: %w", err)
	}
	environments := environmentv1.NewEnvironmentServiceClient(connection)
	environment, err = environments.WaitEnvironment(ctx, &environmentv1.WaitEnvironmentRequest{Name: environment.Name, Timeout: durationpb.New(time.Minute)})
	if err != nil {
		return fmt.Errorf("WaitEnvironment: %w", err)
	}
	if environment.State != environmentv1.EnvironmentState_ENVIRONMENT_STATE_PUBLISHED || environment.Source.HeadSha != sha {
		return fmt.Errorf("the preview is %s at %s: %v", environment.State, environment.Source.GetHeadSha(), environment.Conditions)
	}
	return nil
}

func measure(ctx context.Context, connection *grpc.ClientConn, name, repository, sha string) error {
	now := time.Now().UTC().Truncate(time.Second)
	service := "component:default/" + name
	deployment := &metricsv1.Deployment{
		Service: service, Environment: "production", ExternalId: "go-1", Status: metricsv1.DeploymentStatus_DEPLOYMENT_STATUS_SUCCEEDED,
		Parts: []*metricsv1.DeploymentPart{{Repository: repository, Sha: sha}}, FinishTime: timestamppb.New(now.Add(-time.Minute)),
	}
	answer, err := metricsv1.NewFactServiceClient(connection).IngestEvents(ctx, &metricsv1.IngestEventsRequest{
		Events: []*metricsv1.FactEvent{{IdempotencyKey: uuid(), Fact: &metricsv1.FactEvent_Deployment{Deployment: deployment}}},
	})
	if err != nil || len(answer.Results) != 1 || answer.Results[0].Error != nil {
		return fmt.Errorf("IngestEvents: %w %v", err, answer)
	}
	performance, err := metricsv1.NewDoraServiceClient(connection).GetDeliveryPerformance(ctx, &metricsv1.GetDeliveryPerformanceRequest{
		Service: service, Window: &metricsv1.Window{FromTime: timestamppb.New(now.Add(-24 * time.Hour)), ToTime: timestamppb.New(now.Add(time.Hour))},
	})
	if err != nil {
		return fmt.Errorf("GetDeliveryPerformance: %w", err)
	}
	if count := performance.DeploymentFrequency.GetDeploymentsAll().GetValue(); count != 1 {
		return fmt.Errorf("%d deployments are counted, not 1: %v", count, performance.DeploymentFrequency)
	}
	return nil
}

// violations lists the fields that a BadRequest names.
func violations(err error) []string {
	var fields []string
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, violation := range bad.FieldViolations {
				fields = append(fields, violation.Field)
			}
		}
	}
	return fields
}

func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

func uuid() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
