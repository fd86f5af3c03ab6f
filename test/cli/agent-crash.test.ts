import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentGateway } from './agent-gateway.ts';
import { portcullis, start, temporaryFolder } from './portcullis.ts';

/**
 * The gateway has rotated the token, and the agent dies before the new secret is in the file. Wherever that happens, the
 * file holds a secret that works, and the next start makes up for it.
 */
describe('an agent that is killed in the middle of a rotation', { timeout: 60_000 }, () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let gateway: AgentGateway;
  let token: string;

  beforeEach(async () => {
    folder = temporaryFolder();
    gateway = new AgentGateway();
    await gateway.start();
    token = gateway.issue({ due: true });
    folder.write('app.token', `${token}\n`);
  });
  afterEach(async () => {
    await gateway.stop();
    folder.remove();
  });

  const args = ['agent', '--once', '--token-file', 'app.token'];
  const options = () => ({ cwd: folder.path, env: { PORTCULLIS_URL: gateway.url } });
  const file = (): string => readFileSync(join(folder.path, 'app.token'), 'utf8').trim();
  const names = (): string[] => readdirSync(folder.path).toSorted();

  it.each([
    ['before the answer', () => 0],
    ['in the middle of the answer', (answer: string) => answer.length - 5],
  ])('%s has arrived: the old secret works within its grace, and another rotation heals it', async (_, part) => {
    const agent = start(args, options());
    gateway.beforeAnswer = (response, answer) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': answer.length });
      response.write(answer.slice(0, part(answer)), () => agent.child.kill('SIGKILL'));
      return 'answered';
    };
    expect((await agent.finished).status).toBe(128);
    expect([file(), gateway.generations(token)]).toEqual([token, 2]);
    expect(names()).toHaveLength(2);

    gateway.beforeAnswer = () => 'go on';
    expect((await portcullis(args, options())).status).toBe(0);
    expect([file(), gateway.generations(token)]).toEqual([gateway.newest(token), 3]);
    // What the killed one had reserved holds no secret; it goes when nobody can be writing to it any more.
    expect(names().filter((name) => !name.endsWith('.portcullis-next'))).toEqual(['app.token']);
  });

  it('after the secret is on the disk: it is put in its place, even when the old one is over', async () => {
    gateway.graceMs = 0;
    const next = await rotatedByHand();
    writeFileSync(join(folder.path, '.app.token.0123456789ab.portcullis-next'), `${next}\n`, { mode: 0o600 });
    const { status, stderr } = await portcullis([...args, '--exec', 'cat app.token > told'], options());
    expect(status).toBe(0);
    expect(stderr).toContain('the end of a rotation that was cut off has been made up for');
    expect([file(), gateway.generations(token)]).toEqual([next, 2]);
    expect(names()).toEqual(['app.token', 'told']);
    expect(readFileSync(join(folder.path, 'told'), 'utf8').trim()).toBe(next);
  });

  it('throws remains away that are of no use', async () => {
    const next = await rotatedByHand();
    writeFileSync(join(folder.path, 'app.token'), `${next}\n`);
    for (const [name, text] of Object.entries({ aa: token, bb: next, cc: next.slice(0, 20) })) {
      writeFileSync(join(folder.path, `.app.token.${name}.portcullis-next`), text);
    }
    expect((await portcullis(args, options())).status).toBe(0);
    expect([file(), names()]).toEqual([next, ['app.token']]);
  });

  async function rotatedByHand(): Promise<string> {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    await fetch(`${gateway.url}/.portcullis/token/rotate`, { method: 'POST', headers, body: '{}' });
    return gateway.newest(token);
  }
});
