// What the commands do that need no service. In the built program this is a file of its own, loaded when one of them runs: to compile it would slow every other command down.
export * from './inspect/run.js';
export { runFsck, runGc, runImport, runRm, runTag } from './repository/run.js';
export { runOciConfig, runOciImport, runOciInspect } from './oci/run.js';
export { runExportStore } from './podman/run.js';
export { runLog } from './policy/log.js';
export { runPolicyShow, runPolicyTest, runPolicyTrust, runPolicyUntrust, runPolicyValidate } from './policy/run.js';
export { runDigest } from './store/run-digest.js';
export { runSign, runVerifySignature } from './sign/run.js';
export { runMkfs } from './store/run-mkfs.js';
export { runVolumePlugin } from './volume/run.js';
export { runSetupPodman } from './setup/run.js';
export { runDoctor } from './doctor/run.js';
