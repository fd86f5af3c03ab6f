import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type OpenAuditLogOptions, type OpenedAuditLog, openAuditLog } from '../../src/audit/open.ts';
import { systemClock } from '../../src/base/clock.ts';
import type { AuditEventInput } from '../../src/model/audit-event.ts';

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'portcullis-audit-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Counts what the log counts. */
export class CountingMeter {
  readonly events = new Map<string, number>();
  readonly dropped = new Map<string, number>();

  auditEvent(sink: string): void {
    this.events.set(sink, (this.events.get(sink) ?? 0) + 1);
  }

  auditDropped(sink: string): void {
    this.dropped.set(sink, (this.dropped.get(sink) ?? 0) + 1);
  }
}

export function openTestLog(path: string, options: Partial<OpenAuditLogOptions> = {}): Promise<OpenedAuditLog> {
  return openAuditLog({
    sinks: [{ kind: 'file', path }],
    onFull: 'drop',
    clock: systemClock,
    metrics: new CountingMeter(),
    instance: 'test',
    ...options,
  });
}

export function access(path: string, more: Partial<AuditEventInput> = {}): AuditEventInput {
  return { type: 'access.allowed', outcome: 'success', api: 'orders', method: 'GET', path, status: 200, ...more };
}

/** A closed log of chain.start, chain.checkpoint, `count` events and a last chain.checkpoint. */
export async function writeLog(path: string, count: number): Promise<void> {
  const log = await openTestLog(path);
  for (let i = 0; i < count; i += 1) log.record(access(`/orders/${i}`));
  await log.close();
}

export async function linesOf(path: string): Promise<string[]> {
  return (await readFile(path, 'utf8')).split('\n').slice(0, -1);
}

export async function rewrite(path: string, change: (lines: string[]) => readonly string[]): Promise<void> {
  await writeFile(path, `${change(await linesOf(path)).join('\n')}\n`);
}

export async function eventsOf(path: string): Promise<Record<string, unknown>[]> {
  return (await linesOf(path)).map((line) => JSON.parse(line));
}
