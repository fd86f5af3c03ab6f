import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Diagnostic } from '../base/diagnostic.ts';
import { LIMITS } from '../base/limits.ts';
import { missingFileHint } from '../base/nearest-file.ts';
import { compilePolicy, isPolicyTestFile, type PolicyContext, type PolicyFile, type PolicyOutcome } from './compile.ts';

/** What could be read of a folder. */
export interface PolicyFolder {
  /** `*.yaml` and `*.yml`, without test files. */
  readonly files: readonly PolicyFile[];
  /** `*.test.yaml` and `*.test.yml`. */
  readonly tests: readonly PolicyFile[];
  readonly diagnostics: readonly Diagnostic[];
}

/** Reads a folder and compiles it. A folder that is missing, empty or not readable is an error, never an empty policy. */
export async function loadPolicyFolder(dir: string, context: PolicyContext): Promise<PolicyOutcome> {
  return compilePolicyFolder(await readPolicyFolder(dir), context);
}

export function compilePolicyFolder(folder: PolicyFolder, context: PolicyContext): PolicyOutcome {
  if (folder.files.length === 0) return { policy: null, diagnostics: folder.diagnostics };
  const outcome = compilePolicy(folder.files, context);
  if (folder.diagnostics.length === 0) return outcome;
  return { policy: null, diagnostics: [...folder.diagnostics, ...outcome.diagnostics] };
}

/** Readings of a folder that keeps changing, until the last one has to do. */
const READINGS = 5;

/** A folder of which no file changed while it was read, if there is such a moment, and what it looked like. */
export async function readSettledFolder(
  dir: string,
): Promise<{ readonly folder: PolicyFolder; readonly fingerprint: string }> {
  for (let reading = 1; ; reading += 1) {
    const fingerprint = await folderFingerprint(dir);
    const folder = await readPolicyFolder(dir);
    if (reading === READINGS || (await folderFingerprint(dir)) === fingerprint) return { folder, fingerprint };
  }
}

/**
 * Changes when a policy file does, by whatever means: written in place, renamed into place, or behind a symbolic link
 * that now leads elsewhere. Never rejects: what cannot be looked at is part of what the folder looks like.
 */
export async function folderFingerprint(dir: string): Promise<string> {
  try {
    const names = policyFileNames(await readdir(dir)).filter((name) => !isPolicyTestFile(name));
    const looks = await Promise.all(names.map((name) => lookOf(join(dir, name))));
    return names.map((name, index) => `${name}\n${looks[index]}`).join('\n');
  } catch (error) {
    return causeOf(error);
  }
}

async function lookOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch (error) {
    return causeOf(error);
  }
}

function policyFileNames(names: readonly string[]): string[] {
  return names.filter((name) => /\.ya?ml$/.test(name) && !name.startsWith('.')).toSorted();
}

/** File names are relative the way `dir` was given: `policies/orders.yaml`. Sub-folders are not read. */
export async function readPolicyFolder(dir: string): Promise<PolicyFolder> {
  const diagnostics: Diagnostic[] = [];
  const fail = (file: string, message: string): void => {
    diagnostics.push({ severity: 'error', file, line: 1, col: 1, message });
  };
  let names: string[] = [];
  try {
    names = policyFileNames(await readdir(dir));
    if (!names.some((name) => !isPolicyTestFile(name))) fail(dir, 'no policies here: the folder holds no *.yaml file');
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    const hint = missing ? await missingFileHint(dir) : '';
    fail(dir, `the policy folder cannot be read: ${causeOf(error)}${hint}`);
  }
  const files: PolicyFile[] = [];
  const tests: PolicyFile[] = [];
  for (const name of names) {
    const path = join(dir, name);
    // `join` would drop a leading `./`, which the operator may have written.
    const shown = `${dir.replace(/\/+$/, '')}/${name}`;
    try {
      // Asked before opening: the opening of a pipe waits for a writer.
      const text = (await stat(path)).isFile() ? await readBounded(path) : undefined;
      if (text === undefined) fail(shown, 'this is not a regular file');
      else if (text === null) fail(shown, `the file is larger than ${LIMITS.policyFileBytes} bytes`);
      else (isPolicyTestFile(name) ? tests : files).push({ name: shown, text });
    } catch (error) {
      fail(shown, `the file cannot be read: ${causeOf(error)}`);
    }
  }
  return { files, tests, diagnostics };
}

/** Null for what is beyond the limit, whatever size the file claims to have. Invalid UTF-8 is an error. */
async function readBounded(path: string): Promise<string | null> {
  const handle = await open(path, 'r');
  try {
    const buffer = Buffer.allocUnsafe(LIMITS.policyFileBytes + 1);
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length);
      if (bytesRead === 0) return new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, length));
      length += bytesRead;
    }
    return null;
  } finally {
    await handle.close();
  }
}

function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown cause';
  const code = 'code' in error ? error.code : undefined;
  const texts: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file or folder',
    ENOTDIR: 'it is not a folder',
    EISDIR: 'it is a folder',
    EACCES: 'permission denied',
    ERR_ENCODING_INVALID_ENCODED_DATA: 'it is not valid UTF-8',
  };
  return typeof code === 'string' && Object.hasOwn(texts, code) ? (texts[code] ?? code) : error.message;
}
