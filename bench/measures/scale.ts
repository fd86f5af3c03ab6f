import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench } from '../bench.ts';
import { startGateway } from '../gateway.ts';
import { INSTALL_REDIS, startRedis } from '../redis.ts';
import { count, leftOut, type Row, row } from '../report.ts';
import { makeTokens, type SeededToken, seedTokens } from '../seed-tokens.ts';
import { startUpstream } from '../upstream.ts';
import { inTurns, type Subject, summarise } from '../wrk.ts';

const MEASURE = 'many tokens and rules';
const CONNECTIONS = 64;
const FEW = 10;
const MANY = { tokens: 100_000, rules: 1_000 };
const MANY_QUICK = { tokens: 5_000, rules: 1_000 };

/** As a goal: CPU time of a request beside the small gateway's. */
const MOST_SHARE = 1.1;

/** Requests are made beforehand, and sent in an order that meets every token once in each turn and looks random. */
const SCRIPT = `local requests = {}
local position = 0
function init(args)
  local step = tonumber(args[2])
  local tokens = {}
  for line in io.lines(args[1]) do tokens[#tokens + 1] = line end
  for i = 1, #tokens do
    local token = tokens[(i * step) % #tokens + 1]
    requests[i] = wrk.format("GET", nil, { Authorization = "Bearer " .. token })
  end
end
function request()
  position = position % #requests + 1
  return requests[position]
end
`;

/** Prime, so that it meets every token of any number that it does not divide. */
const STEP = 7_919;

export async function measureScale(bench: Bench): Promise<Row[]> {
  const upstream = await startUpstream(bench);
  if (upstream === null) return [leftOut(MEASURE, 'all', 'apt-get install nginx')];
  const size = bench.options.quick ? MANY_QUICK : MANY;
  bench.tell(`  making ${count(size.tokens)} tokens`);
  const tokens = makeTokens(size.tokens, Date.now());
  const few = tokens.slice(0, FEW);
  const files = {
    few: tokenFile(bench, 'few.tokens', few),
    all: tokenFile(bench, 'all.tokens', tokens),
    script: join(bench.folder, 'tokens.lua'),
  };
  writeFileSync(files.script, SCRIPT);
  const redisUrl = await startRedis(bench);
  const rows: Row[] = redisUrl === null ? [leftOut(MEASURE, 'Redis', INSTALL_REDIS)] : [];
  for (const store of redisUrl === null ? ['embedded'] : ['Redis', 'embedded']) {
    const start = async (name: string, seeded: readonly SeededToken[], moreRules: number) =>
      await startGateway(bench, {
        name: `scale-${store}-${name}`,
        redisUrl: store === 'Redis' ? redisUrl : null,
        upstreamUrl: upstream.url,
        moreRules,
        prepare: async (configFile) => {
          bench.tell(`  putting ${count(seeded.length)} tokens into ${store}`);
          await seedTokens(configFile, seeded);
        },
      });
    const small = await start('small', few, 0);
    const large = await start('large', tokens, size.rules - FEW);
    const subject = (name: string, gateway: typeof small, file: string): Subject => ({
      name,
      process: gateway.process,
      load: {
        url: `${gateway.url}/items`,
        headers: [],
        connections: CONNECTIONS,
        script: { file: files.script, args: [file, String(STEP)] },
      },
    });
    const large_ = `${store}: ${count(size.tokens)} tokens, ${count(size.rules)} rules`;
    const subjects = [
      subject(`${store}: ${FEW} tokens, ${FEW} rules`, small, files.few),
      subject(`${large_}, ${FEW} tokens in use`, large, files.few),
      subject(`${large_}, all in use`, large, files.all),
    ];
    rows.push(...(await measureStore(bench, subjects)));
    await Promise.all([small.process.end(), large.process.end()]);
  }
  return rows;
}

async function measureStore(bench: Bench, subjects: readonly Subject[]): Promise<Row[]> {
  const { quick, seconds } = bench.options;
  const runs = await inTurns(bench, subjects, { warmUp: quick ? 1 : 3, seconds: Math.min(2, seconds) });
  const summaries = [...runs].map(([name, each]) => ({ name, summary: summarise(each) }));
  const small = summaries[0]?.summary.cpuSeconds ?? Number.NaN;
  return summaries.map(({ name, summary }, index) =>
    row({
      measure: MEASURE,
      subject: name,
      figure: `${count(summary.perSecond)} requests/s`,
      spread: summary.spread,
      cpuSeconds: summary.cpuSeconds,
      p50: summary.p50,
      p99: summary.p99,
      compared: index === 0 ? null : `${(summary.cpuSeconds / small).toFixed(2)} × ${FEW} and ${FEW} (CPU)`,
      aim: index === 0 ? null : `≤ ${MOST_SHARE} × ${FEW} and ${FEW} (CPU)`,
      reached: index === 0 ? null : summary.cpuSeconds <= MOST_SHARE * small,
      invalid: summary.invalid,
    }),
  );
}

function tokenFile(bench: Bench, name: string, tokens: readonly SeededToken[]): string {
  const file = join(bench.folder, name);
  writeFileSync(file, `${tokens.map(({ token }) => token).join('\n')}\n`, { mode: 0o600 });
  return file;
}
