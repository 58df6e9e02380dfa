import { showProgress } from '../progress.js';
import { type BuildOptions, type BuiltTree, type Progress, buildTree } from './build-tree.js';
import { workerScript } from './worker-script.js';

/** As the program reads a directory: on all processors, with a progress bar. Throws `RequestError`. */
export async function buildTreeShown(
  path: string,
  options: Omit<BuildOptions, 'onProgress' | 'workerScript'>,
): Promise<BuiltTree> {
  let state: Progress | undefined;
  using progress = showProgress('reading', () => state?.found.bytes ?? 0);
  const onProgress = (next: Progress): void => {
    progress.advance(next.read.bytes - (state?.read.bytes ?? 0));
    state = next;
  };
  return await buildTree(path, { ...options, onProgress, workerScript: workerScript() });
}
