#!/bin/sh
':'; // 2>/dev/null; . "$(dirname "$(readlink -f "$0")")/exec-node.sh"

// Two programs in one file. Run directly (or through a link that npm made), /bin/sh reads the line above: it becomes
// the pinned node with this file as its script, with the same pid, so that signals reach the gateway itself. For
// JavaScript that line is a string and a comment.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const OLDEST_MAJOR = 26;
const FORWARDED = ['SIGTERM', 'SIGINT', 'SIGHUP'];
/** Tells the node that is started from here that its IPC channel is there to notice the death of this process. */
const LAUNCHED = 'PORTCULLIS_LAUNCHED';

const self = fileURLToPath(import.meta.url);
const root = resolve(dirname(self), '..');
const major = Number(process.versions.node.split('.')[0]);

if (major >= OLDEST_MAJOR) await run();
else launch();

async function run() {
  if (process.env[LAUNCHED] !== undefined) followParent();
  const source = join(root, 'src', 'main.ts');
  // node strips no types below node_modules, where only the built package is.
  const fromSource = existsSync(source) && !root.includes(`${sep}node_modules${sep}`);
  const { main } = await import(fromSource ? '../src/main.ts' : '../dist/main.js');
  process.exitCode = await main(process.argv.slice(2));
}

/** Ends at once when the launching process is gone, as if the signal that killed it had come here. */
function followParent() {
  delete process.env[LAUNCHED];
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  process.channel?.unref();
}

/** Run by a node that is too old: hands over to the pinned one and stays in between. */
function launch() {
  const pinned = [join(root, 'node_modules', '.bin', 'node'), join(root, '..', '.bin', 'node')].find(existsSync);
  if (pinned === undefined) {
    process.stderr.write(
      `portcullis: needs Node.js ${OLDEST_MAJOR} or later and this is ${process.version}; ` +
        'npm installs it beside the package unless optional dependencies are left out\n',
    );
    process.exitCode = 1;
    return;
  }
  const child = spawn(pinned, [...process.execArgv, self, ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [LAUNCHED]: '1' },
  });
  for (const signal of FORWARDED) {
    process.on(signal, () => {
      // A terminal sends its Ctrl-C to both; twice would cut a drain short.
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on('error', (error) => {
    process.stderr.write(`portcullis: ${pinned} cannot be started: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.on('exit', (code, signal) => {
    if (signal === null) {
      process.exitCode = code ?? 1;
      return;
    }
    for (const forwarded of FORWARDED) process.removeAllListeners(forwarded);
    process.kill(process.pid, signal);
  });
}
