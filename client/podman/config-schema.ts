// What podman parses of the configuration of an image. One that it cannot parse makes `podman images`, and each look for a name, fail for everybody who has the
// store: what is checked here is all of both its forms of it. image-spec-go v1.Image; github.com/containers/image, manifest.Schema2Image.
import { z } from 'zod';

/** RFC 3339. Years at the very ends leave what Go can write when they are moved to another time zone. */
const TIME =
  /^((?!0000|9999)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

/** To JavaScript the 30th of February is a day of March, to Go it is none. */
function isTime(text: string): boolean {
  const date = TIME.exec(text)?.[1];
  return date !== undefined && new Date(`${date}T00:00:00Z`).toISOString().startsWith(date);
}

const time = z.string().refine(isTime, 'it is no time').nullish();
const text = z.string().nullish();
const flag = z.boolean().nullish();
const number = z.int().nullish();
const strings = z.array(z.string()).nullish();
const names = z.record(z.string(), z.looseObject({})).nullish();

/** An object whose other keys are handed on as they are. Go takes a key in any case for the one it knows, and would see there what was not checked. */
function known<T extends z.ZodRawShape>(shape: T) {
  const keys = new Map(Object.keys(shape).map((key) => [foldCase(key), key]));
  return z.looseObject(shape).refine((value) => Object.keys(value).every((key) => (keys.get(foldCase(key)) ?? key) === key), {
    message: 'a key differs from a known one in upper and lower case only',
  });
}

/** By way of upper case: of the letters that are not ASCII, Go takes U+017F for an s and U+212A for a k. */
function foldCase(key: string): string {
  return key.toUpperCase().toLowerCase();
}

const healthcheck = known({
  Test: strings,
  StartPeriod: number,
  StartInterval: number,
  Interval: number,
  Timeout: number,
  Retries: number,
});

const execution = known({
  Hostname: text,
  Domainname: text,
  User: text,
  AttachStdin: flag,
  AttachStdout: flag,
  AttachStderr: flag,
  ExposedPorts: names,
  Tty: flag,
  OpenStdin: flag,
  StdinOnce: flag,
  Env: strings,
  Cmd: strings,
  Healthcheck: healthcheck.nullish(),
  ArgsEscaped: flag,
  Image: text,
  Volumes: names,
  WorkingDir: text,
  Entrypoint: strings,
  NetworkDisabled: flag,
  MacAddress: text,
  OnBuild: strings,
  Labels: z.record(z.string(), z.string()).nullish(),
  StopSignal: text,
  StopTimeout: number,
  Shell: strings,
});

const step = known({ created: time, created_by: text, author: text, comment: text, empty_layer: flag });

export const CONFIG = known({
  id: text,
  parent: text,
  comment: text,
  created: time,
  container: text,
  container_config: execution.nullish(),
  docker_version: text,
  author: text,
  config: execution.nullish(),
  architecture: z.string(),
  variant: text,
  os: z.string(),
  'os.version': text,
  'os.features': strings,
  size: number,
  rootfs: z.looseObject({ diff_ids: z.array(z.string()) }),
  history: z.array(step).nullish(),
});
