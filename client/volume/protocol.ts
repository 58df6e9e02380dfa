// The Docker volume plugin protocol, as far as podman speaks it: a path and a small JSON body. What is not expected is refused.
// https://docs.docker.com/engine/extend/plugins_volume/; podman: libpod/plugin/volume_api.go
import * as z from 'zod';
import { RequestError } from '../../core/wire/errors.js';

export const MEDIA_TYPE = 'application/vnd.docker.plugins.v1.1+json';
/** Bytes of a request's body; podman's are a few hundred. */
export const MAX_BODY = 65_536;

/** As podman has it, and short enough for the name of a file. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}$/;
const name = z.string().regex(NAME, 'is not 1 to 200 of A-Z a-z 0-9 _ . -, the first a letter or digit');
/** Who mounts: podman has one for all its containers, docker one for each. */
const id = z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/, 'is not 1 to 128 of A-Z a-z 0-9 _ . -');
const text = z.string().max(4096);
const options = z.record(text, text).nullish();

const ofVolume = z.strictObject({ Name: name });
const ofUse = z.strictObject({ Name: name, ID: id });
const nothing: z.ZodType<object> = z.strictObject({});

const SCHEMAS = {
  '/Plugin.Activate': nothing,
  '/VolumeDriver.Create': z.strictObject({ Name: name, Opts: options }),
  '/VolumeDriver.Remove': ofVolume,
  '/VolumeDriver.Mount': ofUse,
  '/VolumeDriver.Unmount': ofUse,
  '/VolumeDriver.Path': ofVolume,
  '/VolumeDriver.Get': ofVolume,
  '/VolumeDriver.List': nothing,
  '/VolumeDriver.Capabilities': nothing,
} as const;

type Path = keyof typeof SCHEMAS;

/** A request that has the form it must have. */
export type Call = { [P in Path]: { readonly path: P } & z.infer<(typeof SCHEMAS)[P]> }[Path];

/** Throws `RequestError` BadRequest. A body may be left out where there is nothing to say. */
export function parseCall(path: string | undefined, body: string): Call {
  if (path === undefined || !Object.hasOwn(SCHEMAS, path))
    throw new RequestError('BadRequest', 'this plugin knows no such method');
  const parsed = SCHEMAS[path as Path].safeParse(body === '' ? {} : parseJson(body));
  if (parsed.success) return { path, ...parsed.data } as Call;
  const { path: where = [], message = '' } = parsed.error.issues[0] ?? {};
  throw new RequestError('BadRequest', `${where.length > 0 ? `${where.join('.')}: ` : ''}${message}`);
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (cause) {
    throw new RequestError('BadRequest', 'the request is not JSON', { cause });
  }
}
