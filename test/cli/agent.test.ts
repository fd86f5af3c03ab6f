import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  watch,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { agentSettings } from '../../src/cli/agent/settings.ts';
import { CommandFailure } from '../../src/cli/command.ts';
import { createOutput } from '../../src/cli/output.ts';
import { createRuntime } from '../../src/main/runtime.ts';
import { AgentGateway } from './agent-gateway.ts';
import { type Finished, portcullis, type Running, start, temporaryFolder } from './portcullis.ts';

/** `portcullis agent` as a supervisor or cron runs it, against a stand-in for the gateway. */
let folder: ReturnType<typeof temporaryFolder>;
let gateway: AgentGateway;
const running: Running[] = [];

beforeEach(async () => {
  folder = temporaryFolder();
  gateway = new AgentGateway();
  await gateway.start();
});
afterEach(async () => {
  for (const each of running.splice(0)) {
    each.child.kill('SIGKILL');
    await each.finished;
  }
  await gateway.stop();
  folder.remove();
});

const at = (name: string): string => join(folder.path, name);
const contents = (name: string): string => readFileSync(at(name), 'utf8');
/** Everything in the folder, so that nothing is left behind unseen. */
const names = (): string[] => readdirSync(folder.path).toSorted();
const once = (...args: string[]): Promise<Finished> => portcullis(['agent', '--once', ...args], options());
const options = () => ({ cwd: folder.path, env: { PORTCULLIS_URL: gateway.url } });

function agent(...args: string[]): Running {
  const started = start(['agent', ...args], options());
  running.push(started);
  return started;
}

async function stopped({ child, finished }: Running): Promise<Finished> {
  child.kill('SIGTERM');
  return await finished;
}

interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

const logOf = ({ stderr }: Finished): LogLine[] =>
  stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as LogLine);

/** As soon as a file of the folder fits. */
function becomes(name: string, fits: (text: string) => boolean): Promise<string> {
  return new Promise((resolve) => {
    const watcher = watch(folder.path);
    const look = (): void => {
      let text: string;
      try {
        text = contents(name);
      } catch {
        return;
      }
      if (!fits(text)) return;
      watcher.close();
      resolve(text);
    };
    watcher.on('change', look);
    look();
  });
}

describe('portcullis agent --once', { timeout: 60_000 }, () => {
  it('leaves a fresh token alone', async () => {
    const token = gateway.issue();
    folder.write('app.token', `${token}\n`);
    expect(await once('--token-file', 'app.token')).toEqual({ status: 0, stdout: '', stderr: '' });
    expect([gateway.calls.map(({ call }) => call), contents('app.token')]).toEqual([['status'], `${token}\n`]);
  });

  it('rotates a token that is due, and says so without the secret', async () => {
    const token = gateway.issue({ due: true });
    folder.write('app.token', `${token}\n`);
    const finished = await once('--token-file', 'app.token', '--grace', '1h');
    expect([finished.status, finished.stdout]).toEqual([0, '']);
    expect(contents('app.token')).toBe(`${gateway.newest(token)}\n`);
    expect(gateway.newest(token)).not.toBe(token);
    expect(gateway.calls.map(({ call, body }) => [call, body])).toEqual([
      ['status', ''],
      ['rotate', '{"grace":"1h"}'],
    ]);
    expect(logOf(finished)).toEqual([
      expect.objectContaining({ level: 'info', msg: 'the token has been rotated', file: 'app.token', generation: 2 }),
    ]);
    for (const secret of [token, gateway.newest(token)]) expect(finished.stderr).not.toContain(secret.slice(-49));
    expect(names()).toEqual(['app.token']);
  });

  it('rotates so long before the end as it is told to', async () => {
    const token = gateway.issue({ lifeMs: 3_600_000 });
    const other = gateway.issue({ lifeMs: 3 * 3_600_000 });
    folder.write('app.token', token);
    folder.write('other.token', other);
    const args = ['--token-file', 'app.token', '--token-file', 'other.token', '--rotate-before', '3599999ms'];
    expect((await once(...args)).status).toBe(0);
    expect([gateway.generations(token), gateway.generations(other)]).toEqual([2, 1]);
  });

  it('keeps the mode and the owner of the file, and a link to it', async () => {
    const token = gateway.issue({ due: true });
    mkdirSync(at('secrets'));
    folder.write('secrets/real.token', token);
    chmodSync(at('secrets/real.token'), 0o640);
    const asRoot = process.getuid?.() === 0;
    if (asRoot) chownSync(at('secrets/real.token'), 1234, 2345);
    symlinkSync('secrets/real.token', at('app.token'));
    expect((await once('--token-file', 'app.token')).status).toBe(0);
    expect(lstatSync(at('app.token')).isSymbolicLink()).toBe(true);
    expect(contents('secrets/real.token')).toBe(gateway.newest(token));
    const { mode, uid, gid } = statSync(at('secrets/real.token'));
    expect(mode & 0o7777).toBe(0o640);
    if (asRoot) expect([uid, gid]).toEqual([1234, 2345]);
    expect(readdirSync(at('secrets'))).toEqual(['real.token']);
  });

  it('does not rotate when there is no place for the new secret', async () => {
    const token = gateway.issue({ due: true });
    // As long as a name may be, so that no longer one can stand beside it.
    const name = 'n'.repeat(255);
    folder.write(name, token);
    const finished = await once('--token-file', name);
    expect([finished.status, gateway.generations(token), names()]).toEqual([1, 1, [name]]);
    expect(finished.stderr).toContain('ENAMETOOLONG');
  });

  it('ends with 1 when tokens are dead, and says of each what to do', async () => {
    const [fresh, revoked] = [gateway.issue(), gateway.issue()];
    gateway.revoke(revoked);
    const tokens = { revoked, unknown: 'pct_test_madeup', expired: gateway.issue({ lifeMs: 0 }), fresh };
    for (const [name, token] of Object.entries(tokens)) folder.write(name, token);
    const finished = await once(...Object.keys(tokens).flatMap((name) => ['--token-file', name]));
    expect(finished.status).toBe(1);
    const dead = ({ level, file, reason, msg }: LogLine) => [level, file, reason, msg];
    const msg = 'the token is dead and cannot be renewed: issue a new token and put it into';
    expect(logOf(finished).map(dead).toSorted()).toEqual(
      ['expired', 'revoked', 'unknown'].map((name) => ['error', name, `token_${name}`, `${msg} ${name}`]),
    );
  });

  it('tries an unreachable gateway a few times, then ends with 1', async () => {
    const token = gateway.issue({ due: true });
    folder.write('app.token', token);
    await gateway.stop();
    const finished = await once('--token-file', 'app.token');
    expect([finished.status, contents('app.token')]).toEqual([1, token]);
    expect(logOf(finished).map(({ level, failures }) => [level, failures])).toEqual([
      ['warn', 1],
      ['warn', 2],
      ['warn', 3],
    ]);
    expect(finished.stderr).toContain(`the gateway at ${gateway.url} cannot be reached: connect ECONNREFUSED`);
  });

  it('runs a command after a change, which learns the file and the id and no secret', async () => {
    const token = gateway.issue({ due: true });
    folder.write('app.token', token);
    const told = '{ echo "$PORTCULLIS_TOKEN_FILE $PORTCULLIS_TOKEN_ID"; env; } > told; cat app.token > seen';
    expect((await once('--token-file', 'app.token', '--exec', told)).status).toBe(0);
    expect(contents('told').split('\n')[0]).toBe(`${at('app.token')} agent0000000`);
    expect(contents('told')).not.toContain(gateway.newest(token));
    expect(contents('seen')).toBe(gateway.newest(token));
    expect((await once('--token-file', 'app.token', '--exec', 'echo again > told')).status).toBe(0);
    expect(contents('told')).not.toContain('again');
    expect(names()).toEqual(['app.token', 'seen', 'told']);
  });

  it('tells a change that could not be told, at the next start', async () => {
    const token = gateway.issue({ due: true });
    folder.write('app.token', token);
    const failed = await once('--token-file', 'app.token', '--exec', 'exit 3');
    expect([failed.status, contents('app.token')]).toEqual([1, gateway.newest(token)]);
    expect(failed.stderr).toContain('the command ended with status 3');
    expect((await once('--token-file', 'app.token', '--exec', 'echo told > told')).status).toBe(0);
    expect([contents('told'), gateway.generations(token)]).toEqual(['told\n', 2]);
  });
});

describe('portcullis agent', { timeout: 60_000 }, () => {
  it('rotates when the time has come, signals the reader, and stops with 0', async () => {
    const token = gateway.issue({ rotateInMs: 700 });
    folder.write('app.token', token);
    const reader = start([], {
      ...options(),
      command: [
        '/bin/sh',
        '-c',
        'trap "cat app.token > seen; exit 0" HUP; echo $$ > app.pid; while :; do sleep 0.05; done',
      ],
    });
    running.push(reader);
    await becomes('app.pid', (text) => text.endsWith('\n'));
    const keeping = agent('--token-file', 'app.token', '--signal', '@app.pid', 'hup');
    await reader.finished;
    expect(contents('seen')).toBe(gateway.newest(token));
    expect(gateway.generations(token)).toBe(2);
    const { status, stdout } = await stopped(keeping);
    expect([status, stdout, names()]).toEqual([0, '', ['app.pid', 'app.token', 'seen']]);
  });

  it('goes on through an outage and renews when the gateway is back', async () => {
    const token = gateway.issue({ due: true });
    folder.write('app.token', token);
    gateway.outage = { status: 503, reason: 'store_unavailable' };
    const keeping = agent('--token-file', 'app.token');
    await gateway.called(2);
    await gateway.stop();
    gateway.outage = null;
    expect(contents('app.token')).toBe(token);
    await gateway.start();
    await becomes('app.token', (text) => text !== token);
    expect(contents('app.token')).toBe(gateway.newest(token));
    const finished = await stopped(keeping);
    expect(finished.status).toBe(0);
    const warned = logOf(finished).filter(({ level }) => level === 'warn');
    expect(warned.length).toBeGreaterThanOrEqual(2);
    expect(warned[0]?.['why']).toBe(
      `the gateway at ${gateway.url} answered 503 store_unavailable: as the test asked for`,
    );
  });

  it('warns when the end is near', async () => {
    // Due for longer than there is time left.
    folder.write('app.token', gateway.issue({ lifeMs: 120_000, rotateInMs: -200_000 }));
    gateway.outage = { status: 409, reason: 'conflict', only: 'rotate' };
    const keeping = agent('--token-file', 'app.token');
    await gateway.called(4);
    const finished = await stopped(keeping);
    expect(finished.status).toBe(0);
    const near = logOf(finished).filter(({ msg }) => msg.includes('its end is near'));
    expect(near[0]).toMatchObject({ level: 'warn', file: 'app.token', expires_in: expect.stringMatching(/^[12]m/) });
  });

  it('rotates again while answers are lost, and ends with 1 only when the old secret is over', async () => {
    const token = gateway.issue({ due: true });
    folder.write('app.token', token);
    gateway.graceMs = 1500;
    gateway.beforeAnswer = (response) => {
      response.destroy();
      return 'answered';
    };
    const finished = await agent('--token-file', 'app.token').finished;
    expect([finished.status, contents('app.token')]).toEqual([1, token]);
    expect(gateway.generations(token)).toBeGreaterThan(2);
    expect(logOf(finished).at(-1)).toMatchObject({ level: 'error', reason: 'token_superseded' });
  });

  it('ends with 1 when its only token dies, and keeps the others when one of several does', async () => {
    const [dying, living] = [gateway.issue(), gateway.issue()];
    folder.write('dying.token', dying);
    folder.write('living.token', living);
    folder.write(
      'agent.yaml',
      `url: ${gateway.url}\ncheck_every: 100ms\nfiles:\n  - { token_file: dying.token }\n  - { token_file: living.token }\n`,
    );
    const keeping = agent('--config', 'agent.yaml');
    await gateway.called(2);
    gateway.revoke(dying);
    const before = gateway.calls.length;
    await gateway.called(before + 8);
    expect(keeping.child.exitCode).toBe(null);
    // An operator puts a new token into the file: the agent takes it up by itself.
    const renewed = gateway.issue({ due: true });
    folder.write('dying.token', renewed);
    await becomes('dying.token', (text) => text !== renewed && text !== '');
    expect(contents('dying.token')).toBe(gateway.newest(renewed));
    expect((await stopped(keeping)).status).toBe(0);

    gateway.revoke(living);
    const alone = agent('--token-file', 'living.token');
    expect((await alone.finished).status).toBe(1);
  });
});

describe('portcullis agent, used wrongly', { timeout: 60_000 }, () => {
  it.each([
    [{}, 'which files? Name them with --token-file FILE, or give --config FILE'],
    [{ config: 'a', tokenFile: ['a'] }, '--config cannot stand beside --token-file: the file says all that'],
    [{ tokenFile: ['a', 'b', 'a'] }, 'a is named twice'],
    [{ tokenFile: ['a'], signal: ['0', 'HUP'] }, /^--signal: expected a process id, or @ and a file/],
    [{ tokenFile: ['a'], signal: ['1', 'HPU'] }, '--signal: there is no signal "HPU"; did you mean "HUP"?'],
    [{ tokenFile: ['a'], url: 'http://u:secret@h' }, /^--url: expected the URL of the traffic listener, such as/],
    [{ tokenFile: ['a'], checkEvery: '0s' }, '--check-every: must be more than zero'],
  ])('%j is an error of usage', async (asked, message) => {
    const context = { output: createOutput({}), runtime: createRuntime(), action: () => async () => undefined };
    const failure = await agentSettings(asked, context).catch((error: unknown) => error);
    if (!(failure instanceof CommandFailure)) throw new Error('it was taken');
    expect([failure.status, failure.message]).toEqual([
      2,
      typeof message === 'string' ? message : expect.stringMatching(message),
    ]);
    expect(failure.message).not.toContain('secret');
  });

  it('tells every error of its file at once', async () => {
    folder.write(
      'agent.yaml',
      'files:\n  - { token_fiel: a }\n  - { token_file: b, signal: { name: HUP }, grace: soon }\n',
    );
    const { status, stderr } = await portcullis(['agent', '--config', 'agent.yaml'], options());
    expect(status).toBe(1);
    expect(stderr).toMatch(/agent\.yaml:2:\d+: .*unknown key "token_fiel".*did you mean "token_file"/);
    expect(stderr).toMatch(/agent\.yaml:3:\d+: .*exactly one of pid and pid_file/);
    expect(stderr).toMatch(/agent\.yaml:3:\d+: .*expected a duration.*"soon"/);
  });
});
