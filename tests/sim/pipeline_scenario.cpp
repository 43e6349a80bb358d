#include "pipeline_scenario.hpp"

#include "account.hpp"

#include <sapwood/pipeline.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/when_all.hpp>

#include <chrono>
#include <fmt/format.h>
#include <memory>
#include <optional>

namespace sapwood::simulation {

namespace {

constexpr std::string_view path = "/log";

struct stage {
    sim_world& world;
    account& told;
    pipeline& log;
    /// What the pipeline took, by number of producer: what a flush is about.
    std::vector<std::pair<std::uint32_t, std::uint32_t>>& accepted;
    std::optional<std::string>& wrong;
};

/// At any moment: accepted = written + lost + in flight.
void check_counts(const stage& on) {
    const pipeline_counts counts = on.log.counts();
    if (on.wrong || on.world.has_crashed() ||
        (counts.records_accepted >= on.accepted.size() &&
         counts.records_durable + counts.records_written_only + counts.records_lost +
                 counts.records_in_flight ==
             counts.records_accepted &&
         counts.records_in_flight <= counts.records_accepted)) {
        return;
    }
    on.wrong = fmt::format("of {} accepted records {} are counted, {} of them as written only, {} "
                           "as lost and {} in flight",
                           on.accepted.size(), counts.records_accepted, counts.records_written_only,
                           counts.records_lost, counts.records_in_flight);
}

/// Everything accepted so far is with the kernel, or known not to be.
task<> flush(stage on) {
    const std::size_t before = on.accepted.size();
    bool is_written = false;
    try {
        co_await on.log.flush();
        is_written = true;
    } catch (const std::system_error&) {
        // The log has failed, and takes nothing more.
    }
    check_counts(on);
    if (!on.world.has_crashed()) {
        for (std::size_t i = 0; is_written && i < before; ++i) {
            on.told.tell(on.accepted[i].first, on.accepted[i].second, account::state::written);
        }
    }
}

task<> produce(stage on, std::uint32_t producer, std::uint64_t records) {
    for (; records > 0 && !on.world.has_crashed(); --records) {
        sim_random& chance = on.world.chance();
        const std::size_t filler = chance.one_in(8) ? chance.below(2000) : chance.below(80);
        const std::string line = on.told.next_line(producer, filler);
        const std::uint32_t number = on.told.last_number(producer);
        try {
            record item(level::info, producer, line);
            co_await on.log.append(std::move(item));
        } catch (const std::system_error&) {
            on.told.tell(producer, number, account::state::refused);
            co_return;
        }
        on.accepted.emplace_back(producer, number);
        if (chance.one_in(3)) {
            co_await flush(on);
        } else if (chance.one_in(4)) {
            co_await sleep_for(std::chrono::microseconds(chance.below(300)));
        }
    }
}

task<> life(sim_world& world, account& told, std::optional<std::string>& wrong) {
    std::optional<file_sink> sink;
    try {
        sink.emplace(co_await file_sink::open({.path = path}));
    } catch (const std::system_error&) {
        co_return; // the disk would not have it
    }
    pipeline_options options{.queue_records = world.chance().between(1, 16),
                             .batch_bytes = world.chance().between(1, 2000),
                             .form = layout::verbatim};
    pipeline log(std::move(*sink), options);
    std::vector<std::pair<std::uint32_t, std::uint32_t>> accepted;
    const stage on{world, told, log, accepted, wrong};
    log.on_loss([](const std::string&) {});
    std::vector<task<>> producers;
    const std::uint64_t count = world.chance().between(1, 4);
    for (std::uint32_t producer = 0; producer < count; ++producer) {
        producers.push_back(produce(on, producer, world.chance().between(1, 8)));
    }
    co_await when_all(std::move(producers));
    bool has_failed = false;
    try {
        co_await log.close();
    } catch (const std::system_error&) {
        has_failed = true;
    }
    if (world.has_crashed()) {
        co_return;
    }
    const pipeline_counts counts = log.counts();
    if (counts.records != accepted.size() ||
        counts.records != counts.lines_written + counts.lines_lost) {
        wrong =
            fmt::format("the account does not add up: {} accepted, {} taken, {} written, {} lost",
                        accepted.size(), counts.records, counts.lines_written, counts.lines_lost);
    }
    for (const auto& [producer, number] : accepted) {
        if (!has_failed) {
            told.tell(producer, number, account::state::written);
        }
    }
}

} // namespace

outcome play_pipeline_written(std::uint64_t seed, bool traces) {
    sim_world world(options_of(seed, traces));
    account told;
    outcome result;
    const std::uint64_t lives = world.chance().between(1, 3);
    for (std::uint64_t number = 0; number < lives && !result.violation; ++number) {
        plan_outage(world);
        if (world.chance().one_in(2)) {
            world.crash_at(world.chance().between(1, 80), sim_crash::kill);
        }
        world.run(life(world, told, result.violation));
        if (world.has_hung()) {
            result.violation = "the process hung";
        }
        if (result.violation) {
            break;
        }
        // Who opens it next sees whole lines only.
        world.heal();
        world.run([]() -> task<> {
            file_sink sink = co_await file_sink::open({.path = path});
            co_await sink.close();
        }());
        result.violation =
            told.objection(world.contents(path).value_or(""), {.kept = account::state::written});
        world.set_faults(options_of(seed, traces).faults);
    }
    result.acknowledged = told.count(account::state::written);
    finish(world, result);
    return result;
}

} // namespace sapwood::simulation
