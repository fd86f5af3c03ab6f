import type { Readiness } from '../../admin/options.ts';
import type { Snapshot } from '../../metrics/merge.ts';
import type { ProcessStatus, ToldReload } from '../gateway-view.ts';
import type { Portable } from './portable.ts';

/** What the workers ask each other, through the supervisor, and what the answers are. */
export interface Answers {
  readonly metrics: Snapshot;
  readonly status: ProcessStatus;
  readonly ready: Readiness;
  readonly hits: ReadonlyMap<string, number>;
  readonly reload: ToldReload;
}

export type Question = keyof Answers;

/** An answer with the number of the worker that gave it. */
export interface Told<Value> {
  readonly worker: number;
  readonly value: Value;
}

/** Audit events on their way to those who follow them live; `missed` were left out before these. */
export interface EventLines {
  readonly type: 'lines';
  readonly lines: readonly string[];
  readonly missed: number;
}

export type ToWorker =
  | { readonly type: 'start'; readonly worker: number; readonly gatewayStartedAt: number; readonly config: Portable }
  /** Undefined: the usual time for what is in flight. */
  | { readonly type: 'drain'; readonly graceMs: number | undefined }
  | { readonly type: 'reload' }
  | { readonly type: 'question'; readonly id: number; readonly question: Question }
  | { readonly type: 'answers'; readonly id: number; readonly answers: readonly Told<unknown>[] }
  /** Whether somebody follows the events of this worker elsewhere. */
  | { readonly type: 'publish'; readonly wanted: boolean }
  | EventLines;

export type ToSupervisor =
  | { readonly type: 'hello' }
  | { readonly type: 'ready'; readonly trafficUrl: string; readonly adminUrl: string }
  /** It could not be started; `portTaken` where that is why. */
  | { readonly type: 'failed'; readonly message: string; readonly portTaken: number | null }
  | { readonly type: 'ask'; readonly id: number; readonly question: Question; readonly own: Snapshot | null }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  /** What has been counted so far, so that it is not lost with the process. */
  | { readonly type: 'counted'; readonly snapshot: Snapshot }
  | { readonly type: 'follow'; readonly wanted: boolean }
  | EventLines;

/** Both ends are the same program: a message is told from what node itself sends, and not looked into. */
export function isMessage<Message extends ToWorker | ToSupervisor>(value: unknown): value is Message {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';
}
