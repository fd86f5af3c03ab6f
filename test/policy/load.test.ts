import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatDiagnostic } from '../../src/base/diagnostic.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { loadPolicyFolder, readPolicyFolder } from '../../src/policy/load.ts';

const API = 'api: orders\nupstream: orders\nrules: [ { name: read, path: / } ]\n';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'policies-'));
});
afterEach(async () => {
  await rm(dir, { recursive: true });
});

async function load(path = dir): Promise<{ loaded: boolean; said: string[] }> {
  const { policy, diagnostics } = await loadPolicyFolder(path, { upstreams: new Set(['orders']) });
  return {
    loaded: policy !== null,
    said: diagnostics.map(formatDiagnostic).map((line) => line.replaceAll(dir, 'DIR')),
  };
}

describe('a policy folder', () => {
  it('is read: *.yaml and *.yml, tests apart, nothing else', async () => {
    await writeFile(join(dir, 'orders.yaml'), API);
    await writeFile(join(dir, 'roles.yml'), 'roles: {}');
    await writeFile(join(dir, 'orders.test.yaml'), 'not: [even yaml');
    await writeFile(join(dir, '.hidden.yaml'), 'nonsense');
    await writeFile(join(dir, 'README.md'), 'nonsense');
    await mkdir(join(dir, 'sub'));
    const { policy } = await loadPolicyFolder(`${dir}/`, { upstreams: null });
    expect(policy?.files).toEqual([`${dir}/orders.yaml`, `${dir}/roles.yml`]);
    expect((await readPolicyFolder(dir)).tests.map((file) => file.name)).toEqual([`${dir}/orders.test.yaml`]);
  });

  it('has a version that changes with names and contents, not with the place', async () => {
    const other = await mkdtemp(join(tmpdir(), 'elsewhere-'));
    const version = async (path: string): Promise<string | undefined> =>
      (await loadPolicyFolder(path, { upstreams: null })).policy?.version;
    await writeFile(join(dir, 'orders.yaml'), API);
    await writeFile(join(other, 'orders.yaml'), API);
    const first = await version(dir);
    expect(first).toMatch(/^[0-9a-f]{12}$/);
    expect(await version(other)).toBe(first);
    await writeFile(join(other, 'orders.yaml'), `${API}# a remark\n`);
    expect(await version(other)).not.toBe(first);
    await rm(other, { recursive: true });
  });

  it('that is missing, empty, a file, or holds only tests is an error', async () => {
    expect(await load(join(dir, 'none'))).toEqual({
      loaded: false,
      said: ['DIR/none:1:1: the policy folder cannot be read: there is no such file or folder'],
    });
    expect(await load()).toEqual({
      loaded: false,
      said: ['DIR:1:1: no policies here: the folder holds no *.yaml file'],
    });
    await writeFile(join(dir, 'a.test.yaml'), API);
    expect(await load()).toEqual({
      loaded: false,
      said: ['DIR:1:1: no policies here: the folder holds no *.yaml file'],
    });
    expect(await load(join(dir, 'a.test.yaml'))).toEqual({
      loaded: false,
      said: ['DIR/a.test.yaml:1:1: the policy folder cannot be read: it is not a folder'],
    });
  });

  it('with a file that cannot be read is an error, beside those of the others', async () => {
    await writeFile(
      join(dir, 'a.yaml'),
      API.replace('orders\n', 'ordrs\n').replace('upstream: orders', 'upstream: ordrs'),
    );
    await writeFile(join(dir, 'b.yaml'), Buffer.alloc(LIMITS.policyFileBytes + 1, '#'));
    await writeFile(join(dir, 'c.yaml'), Buffer.from([0x61, 0xff]));
    await mkdir(join(dir, 'd.yaml'));
    await symlink(join(dir, 'nowhere'), join(dir, 'e.yaml'));
    await writeFile(join(dir, 'f.yaml'), Buffer.alloc(LIMITS.policyFileBytes, '#'));
    expect(await load()).toEqual({
      loaded: false,
      said: [
        'DIR/b.yaml:1:1: the file is larger than 4194304 bytes',
        'DIR/c.yaml:1:1: the file cannot be read: it is not valid UTF-8',
        'DIR/d.yaml:1:1: this is not a regular file',
        'DIR/e.yaml:1:1: the file cannot be read: there is no such file or folder',
        'DIR/a.yaml:2:11: unknown upstream "ordrs"; did you mean "orders"?',
        'DIR/f.yaml:1:1: missing key "api"',
        'DIR/f.yaml:1:1: missing key "upstream"',
        'DIR/f.yaml:1:1: missing key "rules"',
      ],
    });
  });

  it.skipIf(process.getuid?.() === 0)('that may not be read is an error (root may read everything)', async () => {
    await writeFile(join(dir, 'a.yaml'), API);
    await chmod(join(dir, 'a.yaml'), 0);
    expect(await load()).toEqual({
      loaded: false,
      said: ['DIR/a.yaml:1:1: the file cannot be read: permission denied'],
    });
  });
});
