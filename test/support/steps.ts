// What actors do again and again. Each of these functions is sent as text, so it sees nothing but its arguments.
import type { Kit } from './kit.js';

export interface MountRequest {
  readonly address: string;
  /** Path of an image file. */
  readonly image: string;
  /** 30 s unless told. */
  readonly timeoutMs?: number;
}

/** Mounts a file and lets go of it at once; returns how many milliseconds the answer took. */
export function mountOnce({ client, file }: Kit, { address, image, timeoutMs = 30_000 }: MountRequest): number {
  const connection = client.connect({ address, timeoutMs });
  try {
    const started = performance.now();
    const fd = file.openPath(image, file.O_RDONLY);
    try {
      connection.mountFile(fd, []).mount.close();
    } finally {
      fd.close();
    }
    return performance.now() - started;
  } finally {
    connection.close();
  }
}

/** Mounts an image of a repository and lets go of it at once. */
export function mountImageOnce({ client }: Kit, { address, image }: MountRequest): void {
  const connection = client.connect({ address, timeoutMs: 30_000 });
  try {
    connection.mountImage(image).mount.close();
  } finally {
    connection.close();
  }
}

/** Lets go of everything under a name in the store. */
export function closeStored({ store }: Kit, name: string): void {
  for (const item of (store[name] as { close(): void }[] | undefined) ?? []) item.close();
  store[name] = [];
}
