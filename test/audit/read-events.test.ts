import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ReadProgress, readAuditFile, readAuditStream } from '../../src/audit/read-events.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { linesOf, temporaryFolder, writeLog } from './audit-fixture.ts';

const NEEDLE = '"type":"access.';

async function read(source: (progress: ReadProgress) => AsyncIterable<readonly { readonly path?: string }[]>) {
  const progress: ReadProgress = { lines: 0, malformed: 0, bytes: 0 };
  const paths: (string | undefined)[] = [];
  for await (const events of source(progress)) paths.push(...events.map(({ path }) => path));
  return { paths, progress };
}

const line = (path: string): string => JSON.stringify({ seq: 1, time: 'x', type: 'access.allowed', path });

describe('the events of audit files', () => {
  it('come from plain and packed files, in their order', async () => {
    const folder = await temporaryFolder();
    const plain = join(folder, 'audit.jsonl');
    await writeLog(plain, 50);
    const text = `${(await linesOf(plain)).join('\n')}\n`;
    await writeFile(`${plain}.1.gz`, gzipSync(text));
    await writeFile(`${plain}.1.zst`, zstdCompressSync(text));
    for (const file of [plain, `${plain}.1.gz`, `${plain}.1.zst`]) {
      const { paths, progress } = await read((counts) => readAuditFile(file, counts, NEEDLE));
      expect(paths).toEqual(Array.from({ length: 50 }, (_, i) => `/orders/${i}`));
      expect([progress.lines, progress.malformed, progress.bytes > 0]).toEqual([53, 0, true]);
    }
  });

  it('come whole, wherever the stream is cut into pieces', async () => {
    const text = Buffer.from(['ä', '/b', '😀'].map(line).join('\n'));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: text.length })), async (cuts) => {
        const ends = [...cuts, text.length].toSorted((a, b) => a - b);
        const pieces = ends.map((end, i) => text.subarray(ends[i - 1] ?? 0, end));
        const { paths } = await read((counts) => readAuditStream(Readable.from(pieces), counts, NEEDLE));
        expect(paths).toEqual(['ä', '/b', '😀']);
      }),
      { numRuns: 50 },
    );
  });

  it('are told from lines that are none, and from one longer than any', async () => {
    const long = line('x'.repeat(LIMITS.auditLineBytes + 10));
    const text = [line('/a'), 'nothing', long, '', '{"seq":1}', line('/b'), line('/c').slice(0, -5)].join('\n');
    const pieces = Array.from({ length: Math.ceil(text.length / 1000) }, (_, i) =>
      text.slice(i * 1000, (i + 1) * 1000),
    );
    for (const stream of [[text], pieces]) {
      const { paths, progress } = await read((counts) => readAuditStream(Readable.from(stream), counts, NEEDLE));
      expect(paths.map((path) => path?.slice(0, 10))).toEqual(['/a', '/b']);
      expect([progress.lines, progress.malformed]).toEqual([6, 3]);
    }
  });

  it('are refused from a file that is not there, or broken', async () => {
    const folder = await temporaryFolder();
    const broken = join(folder, 'a.gz');
    await writeFile(broken, 'not packed');
    for (const file of [join(folder, 'none'), broken]) {
      await expect(read((counts) => readAuditFile(file, counts, NEEDLE))).rejects.toThrow();
    }
  });
});
