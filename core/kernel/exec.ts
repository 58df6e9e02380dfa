import { addressOf, bind, cString } from './libc.js';

const execveCall = bind('execve', ['path', 'buffer', 'buffer']);
const fcntlArg = bind('fcntl', ['fd', 'int', 'int']);
const signalCall = bind('signal', ['int', 'u64'], 'long');

const SIGPIPE = 13;
const SIG_DFL = 0;
const F_SETFD = 2; // linux/fcntl.h
const STANDARD_STREAMS = [0, 1, 2];

/**
 * Becomes another program, with all descriptors closed that are close-on-exec. Throws SyscallError if that fails. Node ignores SIGPIPE, which would go over to the
 * new program, and has the standard streams closed, whose numbers the new program would then give to files of its own.
 */
export function execute(path: string, args: readonly string[], environment: NodeJS.ProcessEnv): never {
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value ?? ''}`);
  const [argv, envp] = [pointersTo(args), pointersTo(variables)];
  for (const stream of STANDARD_STREAMS) fcntlArg(stream, F_SETFD, 0);
  signalCall(SIGPIPE, SIG_DFL);
  execveCall(path, argv.table, envp.table);
  throw new Error(`execve returned, ${argv.strings.length + envp.strings.length} strings`);
}

/** A table of addresses that ends with a null pointer, and the strings, which must live as long. */
function pointersTo(texts: readonly string[]): { readonly table: Buffer; readonly strings: readonly Buffer[] } {
  const strings = texts.map(cString);
  const table = Buffer.alloc(8 * (strings.length + 1));
  for (const [index, string] of strings.entries()) table.writeBigUInt64LE(addressOf(string), 8 * index);
  return { table, strings };
}
