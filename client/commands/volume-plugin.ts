import type { Command } from 'commander';
import { connectOptionsOf } from './globals.js';

const HELP = `
Docker's volume protocol on a Unix socket, $XDG_RUNTIME_DIR/cfsctl/volume.sock or
one that the service manager passes. Only its owner is answered. To be run in
podman's namespace, where it mounts; cfsctl setup podman tells podman of it.

Options of a volume (podman volume create --driver cfs -o KEY=VALUE):
  image    digest, or name in one of the service's repositories
  digest   refuse the image if it has another fs-verity digest
  nosuid   ignore setuid, setgid and file capabilities
  noexec   run no programs from the volume

Examples:
  systemctl --user enable --now cfsctl-volume-plugin.socket
  podman unshare cfsctl volume-plugin
  podman volume create --driver cfs -o image=base data
  podman run -v data:/data:ro …`;

export function addVolumePluginCommand(program: Command): void {
  program
    .command('volume-plugin')
    .description('serve images as volumes to rootless podman')
    .option('--socket <path>', 'where to listen, if the service manager passes no socket')
    .addHelpText('after', HELP)
    .action(async ({ socket }: { socket?: string }, command: Command) => {
      const { runVolumePlugin } = await import('../offline.js');
      await runVolumePlugin({ socket, service: connectOptionsOf(command) });
    });
}
