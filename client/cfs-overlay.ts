#!/usr/bin/env node
// cfs-overlay: mount_program of podman's storage. Layers of ours get the validated mount; the rest is left to fuse-overlayfs.
import { runOverlay } from './podman/run-overlay.js';

process.exitCode = runOverlay(process.argv.slice(2));
