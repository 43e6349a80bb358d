// Work that computes and never waits, and what it does to everybody else. The same loop of XORs
//
//   thread   alone, on the only thread there is: a synchronous call, the caller waits
//   pool     on a thread of a pool, with its result awaited: an asynchronous call, the others go on
//   callback on the pool, with somebody told of the result instead of waiting for it
//   starve   in a coroutine on the loop: nobody else runs until it is over
//
// Beside it a heartbeat ticks every 10 ms, as a server's other connections would; how many beats it
// missed tells which of these may be done in a server.
#include "command_line.hpp"
#include "print_line.hpp"

#include <sapwood/sapwood.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <functional>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::clock;
using sapwood::task;
using std::chrono::milliseconds;

constexpr auto beat = 10ms;

/// For ever, in the text this comes from; here for so long. Returns how often.
std::uint64_t compute(milliseconds duration) {
    const auto end = clock::now() + duration;
    std::uint64_t rounds = 0;
    std::uint64_t value = 1;
    while (clock::now() < end) {
        for (int i = 0; i < 100'000; ++i) {
            value ^= value << 13;
            value ^= value >> 7;
            value ^= value << 17;
        }
        rounds += value != 0 ? 1 : 0; // xorshift never comes to zero
    }
    return rounds;
}

/// What a server does besides: it is late by as much as somebody held the loop.
task<> tick(int& beats, clock::duration& latest) {
    for (auto due = clock::now() + beat;; due = clock::now() + beat) {
        co_await sapwood::sleep_until(due);
        latest = std::max(latest, clock::now() - due);
        ++beats;
    }
}

/// An asynchronous call in the callback form: `then` is told of the result, when it is there.
task<> compute_then(milliseconds duration, std::function<void(std::uint64_t)> then) {
    then(co_await sapwood::run_blocking([duration] { return compute(duration); }));
}

task<std::uint64_t> by_callback(milliseconds duration) {
    std::uint64_t rounds = 0;
    sapwood::event told;
    auto call = sapwood::spawn(compute_then(duration, [&](std::uint64_t result) {
        rounds = result;
        told.set();
    }));
    co_await told.wait(); // anything else could be done here instead
    co_await call;
    co_return rounds;
}

task<> beside_a_heartbeat(const std::string& how, milliseconds duration) {
    int beats = 0;
    clock::duration latest{};
    auto heart = sapwood::spawn(tick(beats, latest));
    sapwood::event_loop::current().on_slow_task(100ms, [](const sapwood::slow_task& slow) {
        print_line("  a task held the loop for {}",
                   std::chrono::duration_cast<milliseconds>(slow.held));
    });
    co_await sapwood::sleep_for(5 * beat);

    const int before = beats;
    std::uint64_t rounds = 0;
    if (how == "pool") {
        rounds = co_await sapwood::run_blocking([duration] { return compute(duration); });
    } else if (how == "callback") {
        rounds = co_await by_callback(duration);
    } else {
        rounds = compute(duration);
    }
    const int meanwhile = beats - before;

    co_await sapwood::sleep_for(5 * beat);
    sapwood::event_loop::current().on_slow_task({}, nullptr);
    heart.cancel();
    print_line("  {} rounds; {} of about {} beats, the latest {} late", rounds, meanwhile,
               duration / beat, std::chrono::duration_cast<milliseconds>(latest));
}

void run(const std::string& how, milliseconds duration) {
    if (how == "thread") {
        print_line("thread: alone, and the caller waits");
        print_line("  {} rounds", compute(duration));
        return;
    }
    print_line("{}: {}", how,
               how == "pool"       ? "on a pool's thread, and its result is awaited"
               : how == "callback" ? "on a pool's thread, and somebody is told of its result"
                                   : "on the loop, where nobody else runs meanwhile");
    sapwood::run(beside_a_heartbeat(how, duration));
}

} // namespace

int main(int argc, char** argv) {
    std::vector<std::string> hows{"thread", "pool", "callback", "starve"};
    std::int64_t duration = 500;

    command_line line("Computes on one thread, on a pool, and on a loop that starves of it.");
    line.list({"HOW", "thread, pool, callback, starve; all of them by default"}, hows,
              {"thread", "pool", "callback", "starve"});
    line.number({"--duration", "How long each computes", "MS"}, duration, std::int64_t{1},
                std::int64_t{3'600'000});
    if (const auto ends = line.parse(argc, argv)) {
        return *ends;
    }

    try {
        for (const auto& how : hows) {
            run(how, milliseconds(duration));
        }
    } catch (const std::exception& failure) {
        fmt::print(stderr, "cpu_bound: {}\n", failure.what());
        return 1;
    }
}
