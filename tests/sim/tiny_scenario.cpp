// The simulator tested by itself: a log of a hundred lines, right and with five mistakes, over
// kills and power cuts.
#include "tiny_scenario.hpp"
#include "account.hpp"
#include "scenario.hpp"
#include "tiny_log.hpp"

#include <sapwood/sleep.hpp>
#include <sapwood/when_all.hpp>

#include <chrono>

namespace sapwood::simulation {

namespace {

struct stage {
    sim_world& world;
    account& told;
    tiny_log& log;
};

task<> produce(stage on, std::uint32_t producer, std::uint64_t records) {
    for (; records > 0 && !on.world.has_crashed(); --records) {
        sim_random& chance = on.world.chance();
        const std::size_t filler = chance.one_in(8) ? chance.below(2000) : chance.below(80);
        const std::string line = on.told.next_line(producer, filler);
        const std::uint32_t number = on.told.last_number(producer);
        const bool is_durable = co_await on.log.append(line);
        if (on.world.has_crashed()) {
            co_return;
        }
        on.told.tell(producer, number,
                     is_durable ? account::state::durable : account::state::refused);
        if (chance.one_in(4)) {
            co_await sleep_for(std::chrono::microseconds(chance.below(300)));
        }
    }
}

task<> produce_all(stage on) {
    std::vector<task<>> producers;
    const std::uint64_t count = on.world.chance().between(1, 4);
    for (std::uint32_t producer = 0; producer < count; ++producer) {
        producers.push_back(produce(on, producer, on.world.chance().between(1, 8)));
    }
    co_await when_all(std::move(producers));
    on.log.close();
}

task<> life(sim_world& world, account& told, mistake made) {
    tiny_log log("/log", made);
    co_await when_all(log.run(), produce_all({world, told, log}));
}

} // namespace

outcome play_tiny(std::uint64_t seed, bool traces, mistake made) {
    sim_world world(options_of(seed, traces));
    account told;
    outcome result;
    const std::uint64_t lives = world.chance().between(1, 3);
    for (std::uint64_t number = 0; number < lives && !result.violation; ++number) {
        plan_outage(world);
        plan_crash(world, 100);
        if (world.run(life(world, told, made)) && !world.chance().one_in(4)) {
            world.crash(sim_crash::power_cut);
        }
        if (world.has_hung()) {
            result.violation = "the process hung";
            break;
        }
        std::string text;
        for (const std::string& name : world.names()) {
            text += *world.contents("/" + name);
            if (!text.empty() && text.back() != '\n') {
                text += '\n';
            }
        }
        result.violation =
            told.objection(text, {.kept = account::state::durable, .may_be_torn = true});
    }
    result.acknowledged = told.count(account::state::durable);
    finish(world, result);
    return result;
}

} // namespace sapwood::simulation
