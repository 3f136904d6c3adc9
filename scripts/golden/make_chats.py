#!/usr/bin/env python3
"""Renders chat templates with Jinja2, set up as transformers does, for tests/golden/chat.

Run with `pip install jinja2==3.1.6`:

    scripts/golden/make_chats.py tests/golden/chat/cases.json
"""
import json
import sys

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Written for this test, in the manners of well-known templates.
TEMPLATES = {
    "chatml": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}"
              "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
              "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "bracketed": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
                 "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
                 "{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
                 "{{ raise_exception('Roles must alternate') }}{% endif %}"
                 "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
                 "{% else %}{% set content = message['content'] %}{% endif %}"
                 "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
                 "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "headers": "{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- set date_string = \"26 Jul 2024\" %}\n{%- endif %}\n"
               "{#- The system message, which may be absent #}\n{%- if messages[0].role == 'system' %}\n"
               "    {%- set system = messages[0]['content']|trim %}\n    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system = \"\" %}\n{%- endif %}\n"
               "{{- \"<|start|>system<|end|>\\n\\nToday: \" + date_string + \"\\n\\n\" }}{{- system }}{{- \"<|eot|>\" }}\n"
               "{%- for message in messages %}\n    {%- if message.role in ['user', 'assistant'] and not message.tool_calls %}\n"
               "        {{- '<|start|>' + message['role'] + '<|end|>\\n\\n' + message['content'] | trim + '<|eot|>' }}\n    {%- endif %}\n{%- endfor %}\n"
               "{%- if add_generation_prompt %}\n    {{- '<|start|>assistant<|end|>\\n\\n' }}\n{%- endif %}\n",
    "thinking": "{%- set ns = namespace(found=false, last=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n"
                "    {%- set index = (messages|length - 1) - loop.index0 %}\n    {%- if not ns.found and message.role == \"user\" and message.content is string %}\n"
                "        {%- set ns.found = true %}\n        {%- set ns.last = index %}\n    {%- endif %}\n{%- endfor %}\n"
                "{%- for message in messages %}\n    {%- set content = message.content %}\n"
                "    {%- if '</think>' in content %}\n        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n    {%- endif %}\n"
                "    {%- if loop.index0 > ns.last or loop.last %}{{ '*' }}{% endif %}\n"
                "    {{- message.role ~ '(' ~ loop.index ~ '/' ~ loop.length ~ '): ' ~ content }}\n    {%- if not loop.last %}{{ '\\n' }}{% endif %}\n{%- endfor %}\n",
    "lines": "<chat>\n  {% for m in messages if m.role != 'system' %}\n    {% if m.role == 'user' %}\n  U: {{ m.content | upper | replace('A', 'e') }}\n"
             "    {% elif m.role is in ['assistant'] %}\n  A: {{ m['content'][:5] }} {{ m.content[-1] }}\n    {% endif %}\n  {% else %}\nnobody\n  {% endfor %}\n"
             "  {# a comment #}\n</chat>{% set total %}{{ messages | length }}{% endset %}{{ total }}\n",
    "filters": "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join(', ') }}|{{ messages[0] | tojson }}|"
               "{{ messages | tojson(indent=2) }}|{{ (messages | first).role }}|{{ (messages | last)['role'].title() }}|{{ missing | default('d') }}|"
               "{{ 'x' if add_generation_prompt else 'y' }}|{{ 7 // 2 }} {{ 7 % 3 }} {{ -7 // 2 }} {{ 7 / 2 }} {{ 1.5 + 2 }}|{{ 'a' 'b' ~ 1 }}|"
               "{% for k, v in {'a': 1, 'b': none}.items() %}{{ k }}={{ v }};{% endfor %}|{% for i in range(1, 6) %}{% if i == 2 %}{% continue %}{% endif %}"
               "{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}|{{ 'a,b,,c'.split(',') | length }}|{{ ' x '.strip() }}|{{ [1, 2] + [3] == [1, 2, 3] }}|"
               "{{ 'é' in 'née' }}|{{ not true or 2 > 1 and 'a' < 'b' }}|{{ messages is iterable and messages is not mapping }}|{{ missing }}|{{ none is none }}",
}

CHATS = [
    [{"role": "user", "content": "Hi"}],
    [{"role": "system", "content": " Answer \"shortly\".\n"}, {"role": "user", "content": " What is a tern? "},
     {"role": "assistant", "content": "<think>hmm</think>\n\nA bird.\n"}, {"role": "user", "content": "Né à 7 h — ça va?"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bcdefgh"}],
    [{"role": "assistant", "content": "alone"}],
    [],
]


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.globals["raise_exception"] = raise_exception
    env.filters["tojson"] = tojson
    return env


def main():
    env = environment()
    cases = []
    for name, source in TEMPLATES.items():
        template = env.from_string(source)
        for messages in CHATS:
            for prompt in (False, True):
                case = {"template": name, "messages": messages, "add_generation_prompt": prompt}
                try:
                    case["text"] = template.render(messages=messages, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>",
                                                   tools=None, documents=None)
                except (jinja2.exceptions.TemplateError, TypeError) as error:
                    case["error"] = str(error)
                cases.append(case)
    with open(sys.argv[1], "w") as out:
        out.write('{"templates": %s, "cases": [\n%s\n]}\n' % (json.dumps(TEMPLATES, indent=0), ",\n".join(json.dumps(c) for c in cases)))


if __name__ == "__main__":
    main()
