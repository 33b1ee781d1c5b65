import { describe, expect, test } from 'vitest';
import { redact, redactedSample, SAMPLE_BYTES } from '#src/protocol/redaction.js';
import { shortestTime } from '../../support/timing.js';

const sample = (text: string) => redactedSample(Buffer.from(text));

describe('redactedSample', () => {
  test.each([
    ['a token', '{"access_token":"CANARY","a":1}', '{"access_token":"***","a":1}'],
    ['camel case', '{"accessToken": "CANARY"}', '{"accessToken": "***"}'],
    ['escapes', '{"token":"CA\\"NARY","a":"b"}', '{"token":"***","a":"b"}'],
    ['a cut value', '{"token":"CANARY', '{"token":"***"'],
    ['a number', '{"secret":123,"a":1}', '{"secret":***,"a":1}'],
    ['a list, to the end', '{"tokens":["a]CANARY",["CANARY"]],"a":1}', '{"tokens":***'],
    ['an object, to the end', '{"credentials":{"a":{},"user":"CANARY"},"a":1}', '{"credentials":***'],
    ['Python’s quotes', "{'access_token': 'CANARY', 'a': 1}", "{'access_token': ***, 'a': 1}"],
    ['bare keys', '{token: CANARY, a: 1}', '{token: ***, a: 1}'],
    [
      'JSON in a string',
      '{"body":"{\\"token\\":\\"CANARY\\",\\"a\\":1}"}',
      '{"body":"{\\"token\\":***,\\"a\\":1}"}',
    ],
    [
      'a header in text',
      '{"error":"PRIVATE-TOKEN: CANARY was rejected"}',
      '{"error":"PRIVATE-TOKEN: *** was rejected"}',
    ],
    ['a scheme in text', '{"error":"Authorization: token CANARY, no"}', '{"error":"Authorization: ***, no"}'],
    [
      'an encoded URL',
      '{"url":"https://x/?private_token%3DCANARY&page=2"}',
      '{"url":"https://x/?private_token%3D***&page=2"}',
    ],
    ['a user in a URL', '{"url":"https://bot:CANARY@example.com/x"}', '{"url":"https://***@example.com/x"}'],
    ['a header', '{"headers":{"authorization":"Bearer CANARY"}}', '{"headers":{"authorization":"***"}}'],
    [
      'a URL',
      '{"url":"https://x/?private_token=CANARY&page=2"}',
      '{"url":"https://x/?private_token=***&page=2"}',
    ],
    ['a bearer in text', '{"error":"sent Bearer CANARY to x"}', '{"error":"sent Bearer *** to x"}'],
    ['a GitLab token in text', '{"error":"glpat-CANARY_x-1 failed"}', '{"error":"*** failed"}'],
    ['no JSON', 'token=CANARY rest', 'token=*** rest'],
    ['a pair', '{"key":"DB_PASSWORD","value":"CANARY"}', '{"key":"DB_PASSWORD","value":"***"}'],
    ['slashes with escapes', '{"url":"https:\\/\\/a:CANARY@b\\/c"}', '{"url":"https:\\/\\/***@b\\/c"}'],
  ])('blanks %s', (_, text, expected) => {
    expect(sample(text)).toBe(expected);
  });

  test('is cut at 256 bytes', () => {
    expect(sample('x'.repeat(1000))).toHaveLength(SAMPLE_BYTES);
  });

  test('masks a value whose name is beyond the end of the sample', () => {
    const variable = { value: 'NotForYou1', description: 'x'.repeat(SAMPLE_BYTES), key: 'DB_PASSWORD' };
    expect(sample(JSON.stringify({ type: 'job_failed', data: { variable } }))).not.toContain('NotForYou1');
  });

  test('masks the value of a name with a character that has no width', () => {
    for (const character of ['\u200b', '\u{e0061}', '\ufe0f', '\u3164', '\b'])
      expect(sample(`{"${character}access_to${character}ken":"NotForYou1"}`)).toBe(
        `{"${character}access_to${character}ken":"***"}`,
      );
  });

  test.each(['utf16le', 'big endian'])('masks in UTF-16, %s', (order) => {
    const bytes = Buffer.from('{"token":"NotForYou1","a":1}', 'utf16le');
    const text = redactedSample(order === 'utf16le' ? bytes : bytes.swap16());
    expect(text).toBe('{"token":"***","a":1}');
  });
});

const SECRET = 'NotForYou1';
/** Texts of any origin that contain the secret. */
const LEAKS = [
  // Names and values in the notations of languages and formats.
  `{"access_token":"${SECRET}"}`,
  `{"access_token" : "${SECRET}"}`,
  `{"private token":"${SECRET}"}`,
  `{"token":"a\\"b${SECRET}"}`,
  `{"token":["a","${SECRET}"]}`,
  `{"private_token":{"value":"${SECRET}"}}`,
  `{"to\\u006ben":"${SECRET}"}`,
  `{"access_to\\u200bken":"${SECRET}"}`,
  // Output of a program that writes UTF-16, in a string.
  JSON.stringify({ error: [...`Password: ${SECRET}`].join('\0') }),
  `{"a":1,"apiKey":"${SECRET}","passphrase":"a b ${SECRET}"}`,
  `{:private_token=>"${SECRET}"}`,
  `{"private_token"=>"${SECRET}"}`,
  `{private_token: '${SECRET}'}`,
  `{'token': '${SECRET}', 'password': b'${SECRET}', "pwd": u'it\\'s ${SECRET}'}`,
  `{'token': "it's ${SECRET}"}`,
  `[password] => ${SECRET}`,
  `'password' => '${SECRET}'`,
  `s:8:"password";s:10:"${SECRET}";`,
  `{Password:${SECRET} User:x}`,
  `Config(password=SecretStr('${SECRET}'), user='x')`,
  `{"to\\u{6b}en":"${SECRET}"}`,
  `{"to\\153en":"${SECRET}"}`,
  `{"API key":"${SECRET}","x":1}`,
  `Private key: ${SECRET}`,
  `{"creds":"${SECRET}","pw":"${SECRET}","csrf":"${SECRET}"}`,
  `token="""a ${SECRET}"""`,
  `password = 'it''s ${SECRET}'`,
  `password: correct horse ${SECRET}`,
  `password: |\n  ${SECRET}`,
  `secrets:\n  database: ${SECRET}`,
  `tokens:\n  - ${SECRET}`,
  `token:\n"${SECRET}"`,
  `token: token: ${SECRET}`,
  `password=a,b${SECRET}`,
  `export GITLAB_TOKEN=${SECRET}`,
  `DB_PASS=${SECRET}`,
  `aws_secret_access_key = ${SECRET}`,
  `Server=x;AccountKey=${SECRET};Database=y`,
  `<password>${SECRET}</password>`,
  `<a:password>${SECRET}</a:password>`,
  `<password encrypted="no">a ${SECRET}</password>`,
  `<param name="password" value="${SECRET}"/>`,
  `name="password"\r\n\r\n${SECRET}\r\n--x`,
  `<entry key="password">a ${SECRET}</entry>`,
  // A member that names the value of another.
  `<name>DB_PASSWORD</name><value>a ${SECRET}</value>`,
  `<key>password</key><string>${SECRET}</string>`,
  `{"key":"DB_PASSWORD","value_string":"${SECRET}"}`,
  `{"op":"replace","path":"/users/1/password","value":"${SECRET}"}`,
  `{"key":"DB_PASSWORD","variable_type":"env_var","value":"${SECRET}"}`,
  `{"value":"${SECRET}","masked":true,"key":"DB_PASSWORD"}`,
  `{"headers":[{"name":"PRIVATE-TOKEN","value":"${SECRET}"}]}`,
  `- name: DB_PASSWORD\n  value: ${SECRET}`,
  `[["PRIVATE-TOKEN","${SECRET}"]]`,
  `["Accept","*/*","PRIVATE-TOKEN","${SECRET}"]`,
  `[('PRIVATE-TOKEN', '${SECRET}')]`,
  `[[Accept, text/html], [PRIVATE-TOKEN, ${SECRET}]]`,
  `map[Accept:[*/*] Private-Token:[${SECRET}]]`,
  // Headers.
  `PRIVATE-TOKEN: ${SECRET}`,
  `Authorization: Bearer ${SECRET}`,
  `Authorization: Bearer\n${SECRET}`,
  `Authorization: Bearer\\n${SECRET}`,
  `Authorization: Basic ${SECRET}==`,
  `Authorization: Token token="${SECRET}"`,
  `Authorization: Digest username="bot", response="${SECRET}"`,
  `sent Bearer\r\n ${SECRET}`,
  `Cookie: a="b"; c=${SECRET}`,
  `Set-Cookie: id=${SECRET}; Path=/`,
  `_gitlab_session=${SECRET}; a=b`,
  `connect.sid=${SECRET}`,
  // Command lines.
  `mysql --password ${SECRET} db`,
  `mysql --password=${SECRET}`,
  `mysql -p ${SECRET} db`,
  `mysql -p${SECRET}`,
  `['mysql', '-p', '${SECRET}', '--token', '${SECRET}']`,
  `curl -u bot:${SECRET} --user bot:${SECRET}`,
  `curl -H "PRIVATE-TOKEN: ${SECRET}" -b "session=${SECRET}"`,
  `CREATE USER x IDENTIFIED BY '${SECRET}'`,
  `machine h login u password ${SECRET}`,
  `machine h\nlogin u\npassword hunter${SECRET}`,
  `MACHINE h LOGIN u ACCOUNT ${SECRET}`,
  `the password is ${SECRET}`,
  `the token ${SECRET} has expired`,
  // URLs.
  `https://oauth2:${SECRET}@gitlab.example/a.git`,
  `https:\\/\\/oauth2:${SECRET}@gitlab.example`,
  `git clone https://oauth2:${SECRET}`,
  `redis://:${SECRET}@h:6379`,
  `postgres://u:p@${SECRET}@h/db`,
  `postgres://u:p/${SECRET}@h/db`,
  `//bot:${SECRET}@h`,
  `oauth2:${SECRET}@gitlab.example`,
  `https://x/?private_token=${SECRET}&x=1`,
  `https://x/?x=1&access_token=${SECRET}`,
  // Secrets that can be recognised without a name.
  `-----BEGIN RSA PRIVATE KEY-----\nMII${SECRET}\n-----END RSA PRIVATE KEY-----`,
  `-----BEGIN OPENSSH PRIVATE KEY-----\\nb3B${SECRET}`,
  `-----begin private key-----\n${SECRET}`,
  `---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n${SECRET}`,
  `PuTTY-User-Key-File-3: ssh-rsa\nPrivate-Lines: 1\n${SECRET}`,
  ...['glpat-', 'gldt-', 'glrt-', 'glcbt-64_', 'glptt-', 'gloas-', 'ghp_', 'AKIA'].map(
    (prefix) => `wrong: ${prefix}${SECRET}`,
  ),
  `eyJhbGciOiJIUzI1NiJ9.${SECRET}.abc`,
  `wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY${SECRET}`,
];

/** The text as it is, and as other formats quote it. */
const QUOTED: readonly [how: string, quote: (text: string) => string][] = [
  ['as it is', (text) => text],
  ['in JSON', (text) => JSON.stringify({ error: text })],
  ['in JSON in JSON', (text) => JSON.stringify({ body: JSON.stringify({ error: text }) })],
  ['thrice in JSON', (text) => JSON.stringify(JSON.stringify(JSON.stringify({ error: text })))],
  ['in JSON with escaped slashes', (text) => JSON.stringify({ error: text }).replaceAll('/', '\\/')],
  [
    'in JSON of ASCII without letters',
    (text) =>
      JSON.stringify({ error: text }).replace(
        /(?<!\\)[ek:=@&<>']/g,
        (character) => `\\u00${character.charCodeAt(0).toString(16)}`,
      ),
  ],
  ['percent-encoded', (text) => encodeURIComponent(text)],
  ['in the data of a form', (text) => new URLSearchParams({ error: text }).toString()],
  ['in XML', (text) => text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;')],
];

describe('redact', () => {
  test.each(QUOTED)('shows no secret, %s, wherever the text is cut', (_, quote) => {
    const shown: string[] = [];
    for (const leak of LEAKS) {
      const text = quote(leak);
      const first = text.indexOf(SECRET) + SECRET.length;
      if (redact(text).includes(SECRET)) shown.push(redact(text));
      for (let end = first; end < text.length; end++) {
        const cut = redact(text.slice(0, end), true);
        if (cut.includes(SECRET)) shown.push(cut);
      }
    }
    expect(shown).toEqual([]);
  });

  test.each([
    '{"type":"heartbeat","data":{"activeJobs":-1}}',
    '{"error":"foreign key: 5, a key is missing","at":"1 + 1 = 2","page":"a+b%20c"}',
    '{"octal":"\\101","default_branch":"main","current_page":3,"list":["a","b"]}',
    '{"type":"token_refresh_request","timestamp":"2026-01-01T00:00:00.000Z","jobId":"job-1"}',
    '{"jobId":"job-1","tokens_used": 5,"max_tokens":100,"token_expires_in":3600,"session_count":2}',
    '{"isPrivate":false,"private":true,"token":null,"secrets":[],"passed":5}',
    '{"error":"the password is required","message":"Invalid token"}',
    '{"error":"401 Unauthorized","author":"bot","authorId":7}',
    '{"commit":"da39a3ee5e6b4b0d3255bfef95601890afd80709","id":"550e8400-e29b-41d4-a716-446655440000"}',
    '{"url":"https://gitlab.example:8080/a/b?page=2&per_page=100","mail":"bot@example.com"}',
    '{"path":"/Group/SubGroup/Project1/-/merge_requests"}',
    '{"metric":{"name":"pages","value":"five"},"value":5}',
    '{"crawlerId":"crawler-1","message":"global-settings missing"}',
    'plain text of a crawler, "quoted" and \\escaped\\: 100 %',
  ])('leaves %s readable', (text) => {
    expect(redact(text)).toBe(text);
  });

  test('takes linear time on hostile input', { timeout: 60_000 }, () => {
    const input = (pump: string, length: number) => pump.repeat(Math.ceil(length / pump.length));
    const [short, long] = [8 * 1024, 128 * 1024];
    const pumps = [
      'token:',
      'token:"',
      'token:\'\\"',
      '"value":"',
      '<token',
      '//a:',
      'a@b:',
      '-----BEGIN ',
      '="token"',
      '="token">',
      'token key ',
      '<value',
      '+token:',
      '"',
      '\\"',
      ' ',
    ];
    for (const pump of pumps) {
      const timeOf = (length: number, enough?: number) => {
        const text = input(pump, length);
        return shortestTime(() => void redact(text, true), enough);
      };
      // The length is 16 times as long: quadratic time would be 256 times as much.
      const limit = 64 * Math.max(timeOf(short), 1);
      expect({ pump, isLinear: timeOf(long, limit) < limit }).toEqual({ pump, isLinear: true });
    }
  });
});
