import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const SRC = resolve(import.meta.dirname, '../src');

/** Importer → what it may import. A room may always import itself. `types` marks a room of which only types may be taken. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  model: ['base'],
  token: ['store:types', 'model', 'base'],
  store: ['model', 'base'],
  policy: ['model', 'base'],
  audit: ['model', 'base'],
  metrics: ['model', 'base'],
  lifecycle: [
    'token/opaque-format',
    'store',
    'policy/classes',
    'policy/compiled-policy',
    'audit',
    'metrics:types',
    'model',
    'base',
  ],
  gateway: ['token', 'store:types', 'policy', 'audit', 'metrics', 'model', 'base'],
  admin: ['lifecycle', 'store', 'policy', 'audit', 'metrics', 'model', 'base'],
  config: ['base', 'model', 'policy:types'],
  cli: ['config', 'policy', 'audit', 'model', 'base'],
  main: ['*'],
};

/** Packages that exactly one place may import. */
const OWNED: Readonly<Record<string, string>> = {
  ioredis: 'store/redis/',
  'rate-limiter-flexible': 'store/redis/',
  'node:sqlite': 'store/sqlite/',
  'prom-client': 'metrics/',
  pino: 'metrics/',
  undici: 'gateway/',
  jose: 'token/',
  fastify: 'admin/',
  commander: 'cli/',
};

interface Import {
  readonly file: string;
  readonly target: string;
  readonly typeOnly: boolean;
}

function sources(): string[] {
  return readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => name.split('\\').join('/'));
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(SRC, file), 'utf8');
  const found: Import[] = [];
  for (const match of text.matchAll(/^(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)';/gms)) {
    const specifier = match[2] ?? '';
    const target = specifier.startsWith('.') ? relative(SRC, resolve(SRC, dirname(file), specifier)) : specifier;
    found.push({ file, target, typeOnly: match[1] !== undefined });
  }
  for (const match of text.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g)) {
    const specifier = match[1] ?? '';
    const target = specifier.startsWith('.') ? relative(SRC, resolve(SRC, dirname(file), specifier)) : specifier;
    found.push({ file, target, typeOnly: false });
  }
  return found;
}

const room = (path: string): string => (path.includes('/') ? (path.split('/')[0] ?? path) : path.replace(/\.ts$/, ''));

describe('the arrows between the rooms', () => {
  const imports = sources().flatMap(importsOf);

  it('finds the imports at all', () => {
    expect(imports.length).toBeGreaterThan(10);
  });

  it('are the ones the architecture names, and no others', () => {
    const wrong = imports
      .filter(({ target }) => target.endsWith('.ts'))
      .filter(({ file, target, typeOnly }) => {
        const from = room(file);
        const to = room(target);
        if (from === to) return false;
        const allowed = ARROWS[from];
        if (allowed === undefined) return true;
        return !allowed.some((arrow) => {
          const [place = '', types] = arrow.split(':');
          if (types !== undefined && !typeOnly) return false;
          return place === '*' || place === to || target === `${place}.ts` || target.startsWith(`${place}/`);
        });
      })
      .map(({ file, target }) => `${file} → ${target}`);
    expect(wrong).toEqual([]);
  });

  it('reach outside packages from one place each', () => {
    const wrong = imports
      .filter(({ file, target }) => {
        const name = target.startsWith('@') ? target.split('/').slice(0, 2).join('/') : (target.split('/')[0] ?? '');
        const owner = OWNED[name];
        return owner !== undefined && !file.startsWith(owner);
      })
      .map(({ file, target }) => `${file} → ${target}`);
    expect(wrong).toEqual([]);
  });

  it('never lead to a barrel or a grab-bag', () => {
    const wrong = sources().filter((file) => /(^|\/)(index|utils?|helpers?|common|misc)\.ts$/.test(file));
    expect(wrong).toEqual([]);
  });
});
