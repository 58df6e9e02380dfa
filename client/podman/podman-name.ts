// What an image of the repository is called for podman.

/** github.com/distribution/reference, regexp.go: a component of a path, a host with an optional port. */
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const HOST = /^(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*$/;

/**
 * The name with its registry and tag, so that `podman run NAME` finds it: `base` is localhost/base:latest, `quay.io/team/base` is of that registry.
 * Undefined for a name that podman has no form for (upper-case letters, say): such an image is run by its id.
 */
export function podmanName(name: string): string | undefined {
  const parts = name.split('/');
  const [first = ''] = parts;
  const hasHost = parts.length > 1 && (first.includes('.') || first === 'localhost') && HOST.test(first);
  const path = hasHost ? parts.slice(1) : parts;
  if (!path.every((part) => COMPONENT.test(part))) return undefined;
  return `${hasHost ? first : 'localhost'}/${path.join('/')}:latest`;
}
