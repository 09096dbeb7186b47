// Walks the main job against a running platform with the generated TypeScript client, over gRPC or gRPC-web as SLIPWAY_PROTOCOL says.
//
// It reads SLIPWAY_ADDRESS, SLIPWAY_TOKEN and SLIPWAY_SERVICE, asks on standard output for a pull request
// ("PULL REQUEST <repository>") and reads "<number> <head sha>" from standard input. It ends with "OK" or an error.
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { Code, ConnectError, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { TokenService } from "./gen/slipway/access/v1/token_pb.js";
import { EntityService } from "./gen/slipway/catalog/v1/entity_pb.js";
import { ServiceTier } from "./gen/slipway/catalog/v1/overview_pb.js";
import { EnvironmentService, EnvironmentState } from "./gen/slipway/environment/v1/environment_pb.js";
import { PreviewService } from "./gen/slipway/environment/v1/preview_pb.js";
import { DoraService } from "./gen/slipway/metrics/v1/dora_pb.js";
import { DeploymentStatus } from "./gen/slipway/metrics/v1/fact_pb.js";
import { FactService } from "./gen/slipway/metrics/v1/fact_service_pb.js";
import { RunService, RunState } from "./gen/slipway/scaffolding/v1/run_pb.js";
import { BadRequestSchema, ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";

function env(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

function check(holds: boolean, text: string): asserts holds {
  if (!holds) throw new Error(text);
}

async function refusal(call: Promise<unknown>): Promise<ConnectError> {
  try {
    await call;
  } catch (error) {
    return ConnectError.from(error);
  }
  throw new Error("a call that must be refused was answered");
}

function transport(): Transport {
  const authorize: Interceptor = (next) => async (request) => {
    request.header.set("authorization", `Bearer ${env("SLIPWAY_TOKEN")}`);
    return next(request);
  };
  const options = { baseUrl: `http://${env("SLIPWAY_ADDRESS")}`, interceptors: [authorize] };
  if (env("SLIPWAY_PROTOCOL") === "grpc-web") return createGrpcWebTransport({ ...options, httpVersion: "1.1" });
  return createGrpcTransport(options);
}

async function create(wire: Transport, name: string): Promise<string> {
  const runs = createClient(RunService, wire);
  const bad = { name: "Bad Name", title: "x", owner: "nobody", system: "shop", tier: "gold", description: "x" };
  const wrong = await refusal(runs.createRun({ template: "templates/go-service", parameters: bad }));
  const fields = wrong.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations.map((violation) => violation.field));
  for (const part of ["name", "tier"]) check(fields.some((field) => field.includes(part)), `a wrong ${part} is not named: ${wrong.message} ${fields}`);
  const parameters = { name, title: "Payments", owner: "payments", system: "shop", tier: "critical", description: "Takes money." };
  const request = { template: "templates/go-service", parameters, requestId: randomUUID() };
  const run = await runs.createRun(request);
  const again = await runs.createRun(request);
  check(again.name === run.name, `a repeated CreateRun made ${again.name}, not ${run.name}`);
  let sequence = 0n;
  for await (const event of runs.streamRunEvents({ name: run.name })) {
    sequence += 1n;
    check(event.sequence === sequence, `event ${sequence} came as ${event.sequence}`);
  }
  check(sequence > 0n, "the run has no events");
  const ended = await runs.waitRun({ name: run.name, timeout: { seconds: 60n, nanos: 0 } });
  check(ended.state === RunState.SUCCEEDED, `the run ended ${RunState[ended.state]}: ${ended.error?.message}`);
  return ended.repository.slice(ended.repository.indexOf("/") + 1);
}

async function look(wire: Transport, name: string): Promise<void> {
  const entities = createClient(EntityService, wire);
  const entity = await entities.getEntity({ name: `component:default/${name}` });
  check(entity.owner === "group:default/payments", `the catalog shows owner ${entity.owner}`);
  check(entity.serviceTier === ServiceTier.CRITICAL, `the catalog shows tier ${ServiceTier[entity.serviceTier]}`);
  const list = await entities.listEntities({ filter: `kind = "component" AND name = "${name}"` });
  check(list.entities.length === 1, `${list.entities.length} entities are listed, not 1`);
}

async function preview(wire: Transport, name: string, number: bigint, sha: string): Promise<void> {
  const previews = createClient(PreviewService, wire);
  const images = { app: `ghcr.io/acme/${name}@sha256:${"a".repeat(64)}` };
  const request = { service: `component:default/${name}`, pullRequest: number, images };
  const stale = await refusal(previews.ensurePreview({ ...request, headSha: "0".repeat(40) }));
  const reason = stale.findDetails(ErrorInfoSchema)[0]?.reason;
  check(stale.code === Code.FailedPrecondition && reason === "STALE_COMMIT", `a stale commit is answered ${stale.message} (${reason})`);
  const wanted = await previews.ensurePreview({ ...request, headSha: sha });
  const environments = createClient(EnvironmentService, wire);
  const environment = await environments.waitEnvironment({ name: wanted.name, timeout: { seconds: 60n, nanos: 0 } });
  const state = EnvironmentState[environment.state];
  check(environment.state === EnvironmentState.PUBLISHED, `the preview is ${state}: ${JSON.stringify(environment.conditions.map((c) => c.message))}`);
  check(environment.source?.headSha === sha, `the preview shows ${environment.source?.headSha}, not ${sha}`);
}

async function measure(wire: Transport, name: string, repository: string, sha: string): Promise<void> {
  const now = Date.now();
  const service = `component:default/${name}`;
  const deployment = {
    service, environment: "production", externalId: "ts-1", status: DeploymentStatus.SUCCEEDED,
    parts: [{ repository, sha }], finishTime: timestampFromMs(now - 60_000),
  };
  const answer = await createClient(FactService, wire).ingestEvents({
    events: [{ idempotencyKey: randomUUID(), fact: { case: "deployment", value: deployment } }],
  });
  check(answer.results.length === 1 && answer.results[0]?.error === undefined, `the deployment was refused: ${JSON.stringify(answer.results[0]?.error?.message)}`);
  const performance = await createClient(DoraService, wire).getDeliveryPerformance({
    service, window: { fromTime: timestampFromMs(now - 86_400_000), toTime: timestampFromMs(now + 3_600_000) },
  });
  const count = performance.deploymentFrequency?.deploymentsAll?.value;
  check(count === 1n, `${count} deployments are counted, not 1`);
}

async function walk(): Promise<void> {
  const wire = transport();
  const name = env("SLIPWAY_SERVICE");
  await createClient(TokenService, wire).whoAmI({});
  const repository = await create(wire, name);
  await look(wire, name);
  console.log(`PULL REQUEST ${repository}`);
  const input = createInterface({ input: process.stdin });
  const line = (await input[Symbol.asyncIterator]().next()).value as string;
  input.close();
  const [number, sha] = line.trim().split(" ");
  check(number !== undefined && sha !== undefined, `no pull request in ${JSON.stringify(line)}`);
  await preview(wire, name, BigInt(number), sha);
  await measure(wire, name, repository, sha);
}

walk().then(
  () => { console.log("OK"); process.exit(0); },
  (error: unknown) => { console.log("FAILED", error); process.exit(1); },
);
