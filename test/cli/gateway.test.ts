import { readFileSync, rmSync, statSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { portcullis, ROOT, type Running, start, temporaryFolder } from './portcullis.ts';

/** What an operator does on the first day, with real processes: config, serve, a first token, and its life. */
const folder = temporaryFolder();
const cwd = folder.path;
const TOKEN = /^pct_prod_[0-9A-Za-z]{61}$/;

const config = (extra = '') =>
  [
    'listen: { port: 0 }',
    'admin: { port: 0 }',
    'upstreams: { orders: { url: "http://127.0.0.1:9" } }',
    `policies: ${join(ROOT, 'policies')}`,
    'log: { level: warn }',
    extra,
  ].join('\n');
folder.write('hmac.key', 'x'.repeat(32));
const ISSUERS = 'issuers: [ { issuer: "https://issuer.test", audience: test, secret: { file: hmac.key } } ]';
folder.write('portcullis.yaml', config(ISSUERS));

let gateway: Running;
let env: Record<string, string>;

beforeAll(async () => {
  const made = await portcullis(['admin-token', '--config', 'portcullis.yaml', '--out', 'admin.token'], { cwd });
  expect(made).toEqual({
    status: 0,
    stdout: expect.stringMatching(
      /^token [0-9A-Za-z]{12} \(admin\), until \S+, created in the store\nwritten to admin\.token\n$/,
    ),
    stderr: '',
  });
  gateway = start(['serve', '--config', 'portcullis.yaml'], { cwd });
  await gateway.seen(/portcullis: traffic on http:\/\/127\.0\.0\.1:\d+\n/);
  const admin = await gateway.seen(/portcullis: admin on (http:\/\/127\.0\.0\.1:\d+)\n/);
  env = {
    PORTCULLIS_ADMIN_URL: admin[1] ?? '',
    PORTCULLIS_ADMIN_TOKEN: readFileSync(join(cwd, 'admin.token'), 'utf8'),
  };
}, 90_000);

afterAll(async () => {
  gateway?.child.kill('SIGTERM');
  await gateway?.finished;
  folder.remove();
}, 60_000);

const issue = [
  'token',
  'issue',
  '--name',
  'checkout',
  '--owner',
  'team-shop',
  '--class',
  'service',
  '--scopes',
  'orders:read',
];

describe('portcullis admin-token', { timeout: 60_000 }, () => {
  it('writes a file for its owner only, and never over another', async () => {
    expect(statSync(join(cwd, 'admin.token')).mode & 0o777).toBe(0o600);
    expect(env['PORTCULLIS_ADMIN_TOKEN']?.trim()).toMatch(TOKEN);
    const again = await portcullis(['admin-token', '--config', 'portcullis.yaml', '--out', 'admin.token'], { cwd });
    expect(again).toEqual({
      status: 1,
      stdout: '',
      stderr: 'portcullis: admin.token exists already; --force replaces it\n',
    });
    expect(`${readFileSync(join(cwd, 'admin.token'), 'utf8')}`).toBe(env['PORTCULLIS_ADMIN_TOKEN']);
  });

  it('is bound by its class', async () => {
    const args = ['admin-token', '--config', 'portcullis.yaml', '--ttl', '4000d'];
    const { status, stdout, stderr } = await portcullis(args, { cwd });
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toContain('max_ttl of class "admin"');
  });
});

describe('portcullis token', { timeout: 180_000 }, () => {
  it('goes from issue to revocation', async () => {
    const issued = await portcullis(issue, { cwd, env });
    expect([issued.status, issued.stdout.trim()]).toEqual([0, expect.stringMatching(TOKEN)]);
    const token = issued.stdout.trim();
    expect(issued.stderr).toMatch(/^token \S+ \(checkout, team-shop\), until \S+, issued\nThis is the only time/);
    expect(issued.stderr).not.toContain(token);
    const id = token.slice('pct_prod_'.length, 'pct_prod_'.length + 12);

    const listed = await portcullis(['token', 'list', '--owner', 'team-shop', '--json'], { cwd, env });
    expect(JSON.parse(listed.stdout).tokens).toEqual([
      expect.objectContaining({ id, name: 'checkout', status: 'active' }),
    ]);
    const table = await portcullis(['token', 'list', '--owner', 'team-shop'], { cwd, env });
    expect(table.stdout.split('\n').map((line) => line.split(/ {2,}/).slice(0, 5))).toEqual([
      ['ID', 'NAME', 'OWNER', 'CLASS', 'STATUS'],
      [id, 'checkout', 'team-shop', 'service', 'active'],
      [''],
    ]);
    const shown = await portcullis(['token', 'show', id], { cwd, env });
    expect(shown.stdout).toMatch(new RegExp(`^id +${id}\nname +checkout\n`));

    const introspected = await portcullis(['token', 'introspect', '--json'], { cwd, env, input: `${token}\n` });
    expect([introspected.status, JSON.parse(introspected.stdout)]).toEqual([
      0,
      expect.objectContaining({ active: true, scope: 'orders:read', jti: id }),
    ]);
    folder.write('checkout.token', `${token}\n`);
    const explain = ['policy', 'explain', '--method', 'POST', '--path', '/orders', '--token-file', 'checkout.token'];
    const explained = await portcullis(explain, { cwd, env });
    expect([explained.status, explained.stdout]).toEqual([
      0,
      expect.stringMatching(/^deny scope_insufficient\nrule: write orders \(.*orders\.yaml:\d+\)\n/),
    ]);

    const rotate = ['token', 'rotate', id, '--grace', '1h', '--out', 'checkout.token'];
    const refused = await portcullis(rotate, { cwd, env });
    expect([refused.status, refused.stderr]).toEqual([
      1,
      'portcullis: checkout.token exists already; --force replaces it\n',
    ]);
    expect(readFileSync(join(cwd, 'checkout.token'), 'utf8').trim()).toBe(token);
    const rotated = await portcullis([...rotate, '--force'], { cwd, env });
    expect([rotated.status, rotated.stderr]).toEqual([0, '']);
    const renewed = readFileSync(join(cwd, 'checkout.token'), 'utf8').trim();
    expect(renewed).toMatch(TOKEN);
    expect([renewed === token, rotated.stdout.includes(renewed)]).toEqual([false, false]);
    expect(statSync(join(cwd, 'checkout.token')).mode & 0o777).toBe(0o600);

    const revoked = await portcullis(['token', 'revoke', id, '--reason', 'leaked'], { cwd, env });
    expect([revoked.status, revoked.stdout]).toEqual([0, expect.stringMatching(`^token ${id} revoked at \\S+Z\n$`)]);
    const after = await portcullis(['token', 'introspect', '--token-file', 'checkout.token'], { cwd, env });
    expect([after.status, after.stdout]).toEqual([1, 'active  false\n']);
  });

  it('revokes what fits, after showing it', async () => {
    for (const name of ['a', 'b']) {
      const args = ['token', 'issue', '--name', name, '--owner', 'team-bulk', '--class', 'service'];
      expect(
        (await portcullis([...args, '--scopes', 'orders:read', '--out', `${name}.token`], { cwd, env })).status,
      ).toBe(0);
    }
    const dry = await portcullis(['token', 'revoke', '--owner', 'team-bulk', '--dry-run'], { cwd, env });
    expect([dry.status, dry.stdout]).toEqual([
      0,
      expect.stringMatching(/^ID .*\n.*team-bulk.*\n.*\n2 tokens fit; nothing was changed\n$/),
    ]);
    const one = ['token', 'revoke', '--token-file', 'a.token', '--owner', 'team-bulk', '--reason', 'leaked', '--json'];
    const first = await portcullis(one, { cwd, env });
    expect([first.status, JSON.parse(first.stdout)]).toMatchObject([0, { matched: 1, revoked: 1 }]);
    const all = await portcullis(['token', 'revoke', '--owner', 'team-bulk', '--reason', 'INC-7'], { cwd, env });
    expect([all.status, all.stdout]).toEqual([
      0,
      expect.stringMatching(/\n1 token revoked, 1 had been revoked before\n$/),
    ]);
    const id = String(JSON.parse(first.stdout).tokens[0].id);
    for (const wrong of [[], ['--reason', 'x'], [id, '--dry-run'], [id, '--owner', 'x', '--reason', 'x'], [id]]) {
      expect((await portcullis(['token', 'revoke', ...wrong], { cwd, env })).status).toBe(2);
    }
  });

  it('revokes tokens that others issued, and says until when they are refused', async () => {
    const selectors = ['--subject', 'alice', '--issuer', 'https://issuer.test', '--jti', 'j 1'];
    const which = 'tokens of others with issuer https://issuer.test, subject alice, jti j 1:';
    const until = /until the last has ended \(\d{4}-\S+Z\)\n/.source;
    const dry = await portcullis(['token', 'revoke', ...selectors, '--dry-run'], { cwd, env });
    const fits = `^${which} would be refused ${until}0 tokens fit; nothing was changed\n$`;
    expect([dry.status, dry.stdout]).toEqual([0, expect.stringMatching(fits)]);
    const done = await portcullis(['token', 'revoke', ...selectors, '--reason', 'INC-8'], { cwd, env });
    expect([done.status, done.stdout]).toEqual([
      0,
      expect.stringMatching(`^${which} refused ${until}0 tokens revoked\n$`),
    ]);
    const id = 'jwt:0123456789abcdefghij_-';
    const one = await portcullis(['token', 'revoke', id, '--reason', 'leaked'], { cwd, env });
    expect([one.status, one.stdout]).toEqual([0, expect.stringMatching(`^token ${id} revoked at \\S+Z\n$`)]);
  });

  it('binds a token to a key and a certificate, as OpenSSL prints its thumbprint', async () => {
    const hex = 'A1:25:55:64:40:52:39:44:A1:C1:25:8E:54:DF:27:EC:88:39:38:25:5C:04:ED:16:FC:24:05:53:25:9C:ED:EF';
    const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I';
    const args = [...issue, '--bound-to-jkt', jkt, '--bound-to-certificate', hex, '--json'];
    const { status, stdout } = await portcullis(args, { cwd, env });
    const x5t = Buffer.from(hex.replaceAll(':', ''), 'hex').toString('base64url');
    expect([status, JSON.parse(stdout)]).toMatchObject([0, { bound_to: { jkt, 'x5t#S256': x5t } }]);
    const wrong = await portcullis([...issue, '--bound-to-jkt', 'short'], { cwd, env });
    expect([wrong.status, wrong.stderr]).toMatchObject([2, expect.stringContaining('Expected a SHA-256')]);
  });

  it('prints every reason of a refusal', async () => {
    const args = ['token', 'issue', '--name', 'x', '--owner', 'y', '--class', 'service', '--scopes', 'billing:read'];
    const { status, stdout, stderr } = await portcullis([...args, '--ttl', '400d'], { cwd, env });
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/max_ttl/);
    expect(stderr).toMatch(/billing:read/);
  });

  it('does not put what is not an id into a URL', async () => {
    const { status, stderr } = await portcullis(['token', 'show', env['PORTCULLIS_ADMIN_TOKEN']?.trim() ?? ''], {
      cwd,
      env,
    });
    expect([status, stderr]).toEqual([2, 'portcullis: expected the id of a token: 12 letters and digits\n']);
  });

  it('says so where no gateway listens, or something else does', async () => {
    const args = ['token', 'list', '--admin-url'];
    const nobody = await portcullis([...args, 'http://127.0.0.1:9'], { cwd, env });
    expect([nobody.status, nobody.stderr]).toEqual([
      1,
      expect.stringContaining('http://127.0.0.1:9 cannot be reached: '),
    ]);
    const wrong = await portcullis([...args, 'ftp://x'], { cwd, env });
    expect([wrong.status, wrong.stderr]).toEqual([
      2,
      'portcullis: the admin URL must look like http://127.0.0.1:9090\n',
    ]);
  });

  it('takes nobody else for the admin listener', async () => {
    const other = createHttpServer((_, response) => response.end('{"tokens":[]}'));
    await new Promise<void>((listening) => other.listen(0, '127.0.0.1', listening));
    const address = other.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const traffic = (await gateway.seen(/traffic on (\S+)\n/))[1] ?? '';
    const withTls = (env['PORTCULLIS_ADMIN_URL'] ?? '').replace('http:', 'https:');
    const answers = [];
    const stranger = { ...env, PORTCULLIS_ADMIN_TOKEN: 'unknown' };
    const { status, stderr } = await portcullis(['token', 'list', '--admin-url', traffic], { cwd, env: stranger });
    expect([status, stderr]).toEqual([1, expect.stringContaining('this is the traffic listener')]);
    for (const url of [`http://127.0.0.1:${port}`, traffic, withTls]) {
      const { status, stdout, stderr } = await portcullis(['token', 'list', '--admin-url', url], { cwd, env });
      answers.push([status, stdout, stderr]);
    }
    other.close();
    expect(answers).toEqual([
      [1, '', expect.stringContaining('does not answer as Portcullis does; is it the admin listener?')],
      [1, '', expect.stringContaining('this is the traffic listener; the admin listener has a port of its own')],
      [1, '', expect.stringContaining('it does not speak TLS; did you mean http:// in place of https://?')],
    ]);
  });
});

describe('portcullis audit verify --config', { timeout: 60_000 }, () => {
  it("compares the end with the store's checkpoint", async () => {
    const args = ['audit', 'verify', '--config', 'portcullis.yaml'];
    const { status, stdout } = await portcullis(args, { cwd });
    expect([status, stdout]).toEqual([0, expect.stringMatching(/; the store knows event \d+\nok: \d+ lines\n$/)]);
  });
});

describe('portcullis serve', { timeout: 90_000 }, () => {
  it('drains and ends with 0 on SIGTERM', async () => {
    folder.write(
      'second.yaml',
      config('store: { path: second }\naudit: { sinks: [{ kind: file, path: second/audit.jsonl }] }'),
    );
    const second = start(['serve', '--config', 'second.yaml'], { cwd });
    await second.seen(/admin on/);
    second.child.kill('SIGTERM');
    const { status, stdout } = await second.finished;
    expect([status, stdout.split('\n').length]).toEqual([0, 3]);
    // The whole trail is there, to its orderly end; without it the store still knows that there was one.
    const verify = ['audit', 'verify', '--config', 'second.yaml'];
    expect((await portcullis(verify, { cwd })).stdout).toContain('closed in order');
    rmSync(join(cwd, 'second/audit.jsonl'));
    const gone = await portcullis(verify, { cwd });
    expect([gone.status, gone.stdout]).toEqual([1, expect.stringContaining('which the store knows up to event')]);
  });

  it('does not start on a taken port, and says which', async () => {
    const taken = createServer();
    await new Promise<void>((listening) => taken.listen(0, '127.0.0.1', listening));
    const address = taken.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    folder.write(
      'taken.yaml',
      config('store: { path: third }\naudit: { sinks: [{ kind: file, path: third/audit.jsonl }] }').replace(
        'listen: { port: 0 }',
        `listen: { port: ${port} }`,
      ),
    );
    const { status, stdout, stderr } = await portcullis(['serve', '--config', 'taken.yaml'], { cwd });
    taken.close();
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toContain(String(port));
  });

  it('does not start on policies that are wrong', async () => {
    folder.write(
      'wrong.yaml',
      config('audit: { sinks: [{ kind: file, path: fourth/audit.jsonl }] }').replace(join(ROOT, 'policies'), 'nowhere'),
    );
    const { status, stdout, stderr } = await portcullis(['serve', '--config', 'wrong.yaml'], { cwd });
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/nowhere:1:1: the policy folder cannot be read/);
  });
});
