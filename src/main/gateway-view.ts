import type { Readiness, StatusReport } from '../admin/options.ts';
import type { Diagnostic } from '../base/diagnostic.ts';
import type { Family } from '../metrics/exposition.ts';
import { mergeSnapshots, type Snapshot } from '../metrics/merge.ts';
import type { ReloadOutcome } from './policy-holder.ts';
import type { Siblings } from './workers/siblings.ts';

/** The reason for which a process that ends is not ready. */
export const DRAINING = 'draining';

/** What one process can say of itself. */
export interface ProcessView {
  metrics(): Promise<Snapshot>;
  status(): ProcessStatus;
  ready(): Promise<Readiness>;
  /** Requests that each rule has decided here, by the rule's id. */
  hits(): ReadonlyMap<string, number>;
  reload(): Promise<ReloadOutcome>;
}

export type ProcessStatus = Omit<StatusReport, 'workers'> & { readonly pid: number };

/** A reload of a process, as it is told to another one. */
export type ToldReload = { readonly ok: true } | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

/** What the admin listener says of the gateway: the same whichever of its processes was asked. */
export interface GatewayView {
  metrics(): Promise<readonly Family[]>;
  status(): Promise<StatusReport>;
  ready(): Promise<Readiness>;
  hits(): Promise<ReadonlyMap<string, number>>;
  reload(): Promise<ReloadOutcome>;
}

/** A gateway of one process. */
export function viewOfOne(own: ProcessView): GatewayView {
  return {
    metrics: async () => (await own.metrics()).families,
    status: async () => {
      const { pid: _, ...status } = own.status();
      return status;
    },
    ready: () => own.ready(),
    hits: async () => own.hits(),
    reload: () => own.reload(),
  };
}

/** A gateway of several, seen from one of them. Those that do not answer in time are left out. */
export function viewOfAll(own: ProcessView, siblings: Siblings): GatewayView {
  return {
    metrics: async () => {
      const snapshot = await own.metrics();
      return mergeSnapshots([snapshot, ...(await siblings.ask('metrics', snapshot)).map(({ value }) => value)]);
    },
    status: async () => {
      const others = await siblings.ask('status');
      return statusOfAll([{ worker: siblings.worker, value: own.status() }, ...others], siblings.gatewayStartedAt);
    },
    ready: async () => {
      const [here, others] = await Promise.all([own.ready(), siblings.ask('ready')]);
      const answered = [{ worker: siblings.worker, value: here }, ...others];
      // One that drains alone is about to be replaced, and takes no connections any more.
      const staying = answered.filter(({ value }) => !value.reasons.includes(DRAINING));
      const all = staying.length > 0 ? staying : answered;
      return {
        // Each takes its share of the connections, so one that is not ready is as good as none.
        ready: all.every(({ value }) => value.ready),
        reasons: all.flatMap(({ worker, value }) => value.reasons.map((reason) => `worker ${worker}: ${reason}`)),
      };
    },
    hits: async () => {
      const others = await siblings.ask('hits');
      const sum = new Map(own.hits());
      for (const { value } of others) {
        for (const [rule, count] of value) sum.set(rule, (sum.get(rule) ?? 0) + count);
      }
      return sum;
    },
    reload: async () => {
      const [here, others] = await Promise.all([own.reload(), siblings.ask('reload')]);
      const failed = others.find(({ value }) => !value.ok)?.value;
      return here.ok && failed?.ok === false ? failed : here;
    },
  };
}

function statusOfAll(
  all: readonly { readonly worker: number; readonly value: ProcessStatus }[],
  startedAt: number,
): StatusReport {
  const statuses = all.map(({ value }) => value);
  const kind = statuses[0]?.store.kind ?? 'embedded';
  const leases = statuses.flatMap(({ lease }) => (lease === null ? [] : [lease]));
  return {
    startedAt,
    store: { kind, up: statuses.every(({ store }) => store.up) },
    lease:
      leases.length === 0
        ? null
        : {
            valid: leases.every(({ valid }) => valid),
            remainingMs: Math.min(...leases.map(({ remainingMs }) => remainingMs)),
          },
    replicas: Math.max(...statuses.map(({ replicas }) => replicas)),
    draining: statuses.some(({ draining }) => draining),
    workers: all
      .map(({ worker, value }) => ({ worker, pid: value.pid, startedAt: value.startedAt }))
      .sort((a, b) => a.worker - b.worker),
  };
}
