import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ListenerCertificates } from '../../src/main/listener-certificates.ts';
import { createLogger } from '../../src/metrics/log.ts';
import { CLIENT_FILES, SERVER_FILES } from '../support/tls-client.ts';

/** When the looks at the files tell, without waiting for them to come by themselves. */
describe('certificates of the listener', () => {
  let folder: string;
  let told: string[];
  let error = '';
  let certificates: ListenerCertificates;
  const put = (from: string, name: string) => copyFile(from, join(folder, name));
  const renewed = (end: string) => join(CLIENT_FILES, `renewed.${end}`);

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'portcullis-certificates-'));
    for (const end of ['crt', 'key']) await put(join(SERVER_FILES, `server.${end}`), `tls.${end}`);
    told = [];
    const files = { cert: join(folder, 'tls.crt'), key: join(folder, 'tls.key'), clientCa: null };
    certificates = await ListenerCertificates.load(
      { ...files, clientAuth: 'require' },
      {
        audit: {
          record: ({ type, outcome, details }) => {
            told.push(`${type} ${outcome}`);
            error = String(details?.['error'] ?? '');
          },
        },
        metrics: { tlsReload: (result) => void told.push(result), tlsCertificateExpires: () => undefined },
        log: createLogger({ level: 'silent' }),
      },
    );
    expect(told).toEqual([]);
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const FAILED = ['failure', 'config.loaded failure'];
  const RENEWED = ['success', 'config.loaded success'];

  it('are nobody’s mistake between two files, and once renewed not renewed again', async () => {
    const before = certificates.material;
    await put(renewed('crt'), 'tls.crt');
    await certificates.look();
    expect([told, certificates.material === before]).toEqual([[], true]);
    await put(renewed('key'), 'tls.key');
    await certificates.look();
    expect([told, certificates.material === before]).toEqual([RENEWED, false]);
    await certificates.look();
    expect(told).toEqual(RENEWED);
  });

  it('are told of once while they stay wrong, and at once on request', async () => {
    await put(renewed('crt'), 'tls.crt');
    for (const _look of [1, 2, 3, 4]) await certificates.look();
    expect(told).toEqual(FAILED);
    await certificates.reload();
    expect(told).toEqual([...FAILED, ...FAILED]);
    await rm(join(folder, 'tls.key'));
    for (const _look of [1, 2, 3]) await certificates.look();
    expect(told).toEqual([...FAILED, ...FAILED, ...FAILED]);
  });

  it.each([
    ['a key of another certificate', 'tls.key', renewed('key'), 'tls.key does not belong to'],
    ['nothing', 'tls.crt', null, 'tls.crt holds no certificate in PEM'],
    ['no key', 'tls.key', renewed('crt'), 'or is no private key'],
  ])('are refused where there is %s, and those in force stay', async (_what, name, from, why) => {
    const before = certificates.material;
    if (from === null) await writeFile(join(folder, name), '');
    else await put(from, name);
    await certificates.reload();
    expect([told, certificates.material === before]).toEqual([FAILED, true]);
    expect(error).toContain(why);
  });

  it('are told of anew where they were right in between', async () => {
    const wrong = () => put(renewed('crt'), 'tls.crt');
    const right = () => put(join(SERVER_FILES, 'server.crt'), 'tls.crt');
    for (const _time of [1, 2]) {
      await wrong();
      for (const _look of [1, 2]) await certificates.look();
      await right();
      await certificates.look();
    }
    expect(told).toEqual([...FAILED, ...FAILED]);
  });
});
