import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { ROOT, readPage, section } from './markdown.ts';

/** What is shipped to be copied can at least be read, and uses only options that there are. */
const folder = join(ROOT, 'deploy/agent');
const options = new Set(section(readPage('docs/cli.md'), 'portcullis agent').match(/--[a-z][\w-]*/g));
const optionsIn = (text: string): string[] => text.match(/(?<=[\s[])--[a-z][\w-]*/g) ?? [];

describe('deploy/agent', () => {
  it('holds the two examples', () => {
    expect(readdirSync(folder).toSorted()).toEqual(['kubernetes-sidecar.yaml', 'portcullis-agent.service']);
  });

  it('the sidecar is YAML of two objects, and one of them starts the agent', () => {
    const text = readFileSync(join(folder, 'kubernetes-sidecar.yaml'), 'utf8');
    const documents = parseAllDocuments(text, { strict: true });
    expect(documents.flatMap((document) => [...(document.errors ?? []), ...(document.warnings ?? [])])).toEqual([]);
    const objects = documents.map((document): unknown => document.toJS());
    expect(objects).toEqual([
      expect.objectContaining({ kind: 'PersistentVolumeClaim' }),
      expect.objectContaining({
        kind: 'Deployment',
        spec: expect.objectContaining({ replicas: 1, strategy: { type: 'Recreate' } }),
      }),
    ]);
    const args = text.split('\n').filter((line) => line.includes('args: [agent'));
    expect(args).toHaveLength(1);
    expect(optionsIn(args.join()).filter((option) => !options.has(option))).toEqual([]);
  });

  it('the unit has sections of keys, and starts the agent with options that there are', () => {
    const lines = readFileSync(join(folder, 'portcullis-agent.service'), 'utf8').split('\n');
    const wrong = lines.filter((line) => line !== '' && !/^(#|\[(Unit|Service|Install)\]$|[A-Z][A-Za-z]+=)/.test(line));
    expect(wrong).toEqual([]);
    const start = lines.find((line) => line.startsWith('ExecStart=')) ?? '';
    expect(optionsIn(start)).toContain('--token-file');
    expect(optionsIn(start).filter((option) => !options.has(option))).toEqual([]);
  });
});
