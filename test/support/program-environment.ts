/**
 * The environment of programs that tests start: nothing of the tests' own, but for the place where node keeps what it has
 * compiled. Hundreds of processes are started, and most of what each would do first is compile the same files.
 */
export function programEnvironment(): Readonly<Record<string, string>> {
  const { PATH = '', NODE_COMPILE_CACHE } = process.env;
  return NODE_COMPILE_CACHE === undefined ? { PATH } : { PATH, NODE_COMPILE_CACHE };
}
