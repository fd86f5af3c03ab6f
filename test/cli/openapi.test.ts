import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { portcullis, ROOT, temporaryFolder } from './portcullis.ts';

const folder = temporaryFolder();
afterAll(() => folder.remove());
const cwd = folder.path;
const SHOP = join(ROOT, 'test/golden/openapi/pet-shop.yaml');

describe('a policy made of an OpenAPI document', { timeout: 120_000 }, () => {
  it('is written once, passes the check without a warning, and covers the document', async () => {
    const made = await portcullis(['policy', 'import', 'openapi', SHOP, '--upstream', 'shop', '--out', 'shop.yaml'], {
      cwd,
    });
    expect([made.status, made.stdout]).toEqual([0, 'shop.yaml: 13 operations, 12 rules\n']);
    expect(made.stderr).toContain(
      `${SHOP}:103:37: warning: security scheme "shop_login" declares no scope "orders:reed"`,
    );
    expect(made.stderr).toContain('2 public, as the document says: everybody may call getPicture, loginUser\n');

    const again = await portcullis(['policy', 'import', 'openapi', '-', '--out', 'shop.yaml'], {
      cwd,
      input: readFileSync(SHOP, 'utf8'),
    });
    expect([again.status, again.stderr]).toEqual([
      1,
      expect.stringContaining('shop.yaml exists already; --force replaces it'),
    ]);

    const checked = await portcullis(['policy', 'check', '--strict', '.'], { cwd });
    expect([checked.status, checked.stdout]).toEqual([0, expect.stringContaining('1 APIs, 12 rules')]);

    const covered = await portcullis(
      ['policy', 'coverage', '.', '--openapi', SHOP, '--fail-on', 'uncovered,open,idle'],
      { cwd },
    );
    expect([covered.status, covered.stdout]).toEqual([
      0,
      '13 of 13 operations covered (pet-shop), 0 rules or paths idle\n',
    ]);
  });

  it('is missed where it and the document part ways', async () => {
    const document = readFileSync(SHOP, 'utf8').replace('/store/inventory', '/store/stock');
    const args = ['policy', 'coverage', '.', '--openapi', '-'];
    const told = await portcullis(args, { cwd, input: document });
    expect([told.status, told.stdout]).toEqual([
      0,
      [
        'stdin:82:5: uncovered: no rule declares GET /store/stock (getInventory)',
        './shop.yaml:38:5: idle: rule pet-shop/getInventory matches no operation',
        '12 of 13 operations covered (pet-shop), 1 rules or paths idle',
        '',
      ].join('\n'),
    ]);
    const failed = await portcullis([...args, '--fail-on', 'uncovered', '--json'], { cwd, input: document });
    expect(failed.status).toBe(1);
    expect(JSON.parse(failed.stdout)).toMatchObject({ ok: false, covered: 12, uncovered: [{ id: 'getInventory' }] });
    const unknown = await portcullis([...args, '--api', 'pet-shap'], { cwd, input: document });
    expect([unknown.status, unknown.stderr]).toEqual([1, expect.stringContaining('did you mean "pet-shop"?')]);
  });

  it('is none where the document is wrong', async () => {
    const bad = folder.write('bad.yaml', 'openapi: 3.0.0\ninfo: {}\npaths: { /a: { $ref: "#/x" }, b: { get: {} } }\n');
    const made = await portcullis(['policy', 'import', 'openapi', bad], { cwd });
    expect([made.status, made.stdout]).toEqual([1, '']);
    expect(made.stderr.split('\n').slice(0, 2)).toEqual([
      `${bad}:3:22: $ref "#/x": there is no "x"`,
      `${bad}:3:31: a path starts with "/", got "b"`,
    ]);
    expect((await portcullis(['policy', 'import', 'openapi', bad, '--mode', 'reprot'], { cwd })).status).toBe(2);
  });
});
