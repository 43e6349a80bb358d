// What stands before and behind the tasks on a page of task_html, as it is.
#pragma once

#include <string_view>

namespace sapwood::tools {

/// Nothing may be fetched, and no script run, whatever stands in the page. The title follows.
inline constexpr std::string_view html_begin = R"html(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="sapwood tree">
<style>
:root { --ink: #1c2430; --faint: #68727f; --paper: #fff; --band: #f4f6f8; --line: #d9dee4;
  --good: #2f855a; --bad: #c53030; --odd: #b7791f; --open: #7f8ea3; --key: #2b6cb0; --time: 34vw; }
@media (prefers-color-scheme: dark) { :root { --ink: #dfe5ec; --faint: #8b97a5; --paper: #14181d;
  --band: #1c2229; --line: #313a44; --good: #48a77a; --bad: #f07070; --odd: #dca54a;
  --open: #66758a; --key: #7ab4ec; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1rem 1.25rem 3rem; background: var(--paper); color: var(--ink);
  font: 14px/1.45 system-ui, sans-serif; }
h1 { margin: 0 0 .5rem; font-size: 1.1rem; overflow-wrap: anywhere; }
label { margin: 0 1.25rem 0 .3rem; color: var(--faint); }
main { margin-top: .75rem; }
#failed:checked ~ main > .task:not(.bad), #incomplete:checked ~ main > .task:not(.lacks),
#messages:checked ~ main .m:not(.e), #fields:checked ~ main dl { display: none; }
.task { margin: 0 0 .6rem; border: 1px solid var(--line); border-radius: 6px; overflow: hidden; }
.task > summary { padding: .35rem .6rem; background: var(--band); }
.task[open] > summary { border-bottom: 1px solid var(--line); }
.task > div { padding: .2rem .6rem .5rem; }
summary { cursor: pointer; }
.r, .a > summary { display: flex; gap: .75rem; align-items: baseline; }
.h { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.a > summary::before { content: "\25b8"; width: .7rem; margin-right: -.5rem; color: var(--faint); }
.a[open] > summary::before { content: "\25be"; }
.a > summary { list-style: none; border-radius: 3px; }
.a > summary:hover, .m > .r:hover { background: var(--band); }
.a > summary::-webkit-details-marker { display: none; }
.a .a, .a .m, .n { margin-left: 1.15rem; }
.a > dl { margin-left: 1.9rem; }
.m > .r { padding-left: .95rem; }
.m > dl { margin-left: 1.9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 .75rem; margin-top: 0;
  margin-bottom: .15rem; padding-right: calc(var(--time) + .75rem);
  font: 12px/1.5 ui-monospace, monospace; }
dt { color: var(--key); max-width: 24ch; overflow-wrap: anywhere; }
dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
i, time { font-style: normal; color: var(--faint); font-size: .86em; }
u { text-decoration: none; font-variant-numeric: tabular-nums; font-size: .92em; }
u.slow { color: var(--odd); font-weight: 600; }
.w { font-weight: 600; } .w.ok { color: var(--good); } .w.bad { color: var(--bad); }
.w.odd, .n { color: var(--odd); }
.l { flex: none; position: relative; width: var(--time); height: .7em; align-self: center;
  background: linear-gradient(90deg, var(--line) 1px, transparent 1px) 0 0 / 25% 100%,
    linear-gradient(var(--line), var(--line)) 100% 0 / 1px 100% no-repeat; }
.l b { position: absolute; top: 0; height: 100%; min-width: 2px; border-radius: 2px;
  background: var(--open); }
.l b.ok { background: var(--good); } .l b.bad { background: var(--bad); }
.l b.odd { background: var(--odd); }
.l b.open { background: repeating-linear-gradient(90deg, var(--open) 0 6px, transparent 6px 9px); }
.l b.tick { width: 2px; background: var(--faint); }
.x { height: auto; background: none; color: var(--faint); font-size: .8em; text-align: right; }
footer { margin-top: 1.5rem; color: var(--faint); white-space: pre-wrap; }
@media (max-width: 40rem) { :root { --time: 26vw; } }
</style>
<title>)html";

/// Behind the title comes the heading, and then this.
inline constexpr std::string_view html_choices = R"html(
<input type="checkbox" id="failed"><label for="failed">only failed</label>
<input type="checkbox" id="incomplete"><label for="incomplete">only incomplete</label>
<input type="checkbox" id="messages"><label for="messages">no messages</label>
<input type="checkbox" id="fields"><label for="fields">no fields</label>
<main>
)html";

} // namespace sapwood::tools
