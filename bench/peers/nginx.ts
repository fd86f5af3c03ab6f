/** Where nginx keeps its modules on Debian and its like. */
export const LUA_MODULES = ['ndk_http_module.so', 'ngx_http_lua_module.so'].map(
  (name) => `/usr/lib/nginx/modules/${name}`,
);

/** A whole nginx.conf around one http block, for a run in the foreground by anybody from a folder of its own. */
function around(folder: string, http: string, modules: readonly string[] = []): string {
  const scratch = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `  ${kind}_temp_path ${folder}/${kind};`,
  );
  return `${modules.map((file) => `load_module ${file};\n`).join('')}daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr notice;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_timeout 10m;
  keepalive_requests 4000000000;
  client_max_body_size 0;
${scratch.join('\n')}
${http}
}
`;
}

/** The upstream of everything: the small answer at any path, a large file, and a sink for uploads. */
export function upstreamConf(options: { folder: string; port: number; answer: string }): string {
  return around(
    options.folder,
    `  server {
    listen 127.0.0.1:${options.port} backlog=4096;
    location / {
      default_type application/json;
      return 200 '${options.answer}';
    }
    location = /large { root ${options.folder}; }
    # Asking itself makes it read the whole body before it answers, into memory and not into a file.
    location = /upload {
      client_body_buffer_size 16m;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_pass http://127.0.0.1:${options.port}/received;
    }
  }`,
  );
}

const UPSTREAM = (port: number): string => `  upstream api {
    server 127.0.0.1:${port};
    keepalive 256;
    keepalive_requests 4000000000;
  }`;

/** Bodies are streamed, as the gateway streams them, and not collected first. */
const PASS = `      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_pass http://api;`;

/** A proxy that checks nothing. */
export function proxyConf(options: { folder: string; port: number; upstream: number }): string {
  return around(
    options.folder,
    `${UPSTREAM(options.upstream)}
  server {
    listen 127.0.0.1:${options.port} backlog=4096;
    location / {
${PASS}
    }
  }`,
  );
}

/** A proxy that looks a token up by its digest in memory, asks for a scope, and says upstream whose it is. */
export function luaConf(options: { folder: string; port: number; upstream: number; token: string }): string {
  return around(
    options.folder,
    `${UPSTREAM(options.upstream)}
  lua_package_path "/usr/share/lua/5.1/?.lua;;";
  lua_shared_dict grants 8m;
  init_by_lua_block {
    ngx.shared.grants:set(ngx.sha1_bin("${options.token}"), "orders:read items:read items:write")
  }
  server {
    listen 127.0.0.1:${options.port} backlog=4096;
    location / {
      access_by_lua_block {
        local header = ngx.var.http_authorization
        if not header or header:sub(1, 7) ~= "Bearer " then
          return ngx.exit(ngx.HTTP_UNAUTHORIZED)
        end
        local granted = ngx.shared.grants:get(ngx.sha1_bin(header:sub(8)))
        if not granted then
          return ngx.exit(ngx.HTTP_UNAUTHORIZED)
        end
        if not granted:find("items:read", 1, true) then
          return ngx.exit(ngx.HTTP_FORBIDDEN)
        end
        ngx.req.clear_header("Authorization")
        ngx.req.set_header("X-Subject", "bench")
      }
${PASS}
    }
  }`,
    LUA_MODULES,
  );
}
