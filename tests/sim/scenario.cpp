#include "scenario.hpp"

#include "durable_scenario.hpp"
#include "logger_scenario.hpp"
#include "pipeline_scenario.hpp"
#include "tiny_scenario.hpp"

#ifdef SAPWOOD_TEST_MISTAKES
#include "mistakes.hpp" // of the sinks

#include <exception>
#endif

#include <cerrno>
#include <chrono>

namespace sapwood::simulation {

namespace {

template <mistake Made>
outcome play_tiny_with(std::uint64_t seed, bool traces) {
    return play_tiny(seed, traces, Made);
}

#ifdef SAPWOOD_TEST_MISTAKES

template <detail::mistake Made, outcome (*Play)(std::uint64_t, bool) = play_durable>
outcome play_durable_with(std::uint64_t seed, bool traces) {
    detail::made = Made;
    outcome result;
    try {
        result = Play(seed, traces);
    } catch (const std::exception& failure) {
        result.violation = failure.what();
    }
    detail::made = detail::mistake::none;
    return result;
}

#endif

} // namespace

const std::vector<scenario>& scenarios() {
    static const std::vector<scenario> all{
        {"durable", "records through a durable pipeline, over kills and power cuts", false,
         play_durable},
#ifdef SAPWOOD_TEST_MISTAKES
        {"durable-early", "the same, but it acknowledges before the sync", true,
         play_durable_with<detail::mistake::acknowledge_before_sync>},
        {"durable-short", "the same, but it ignores a short write", true,
         play_durable_with<detail::mistake::ignore_short_write>},
        {"durable-retry", "the same, but it believes a second sync", true,
         play_durable_with<detail::mistake::retry_sync>},
        {"durable-directory", "the same, but it does not sync the directory", true,
         play_durable_with<detail::mistake::forget_directory_sync>},
        {"durable-failed", "the same, but it acknowledges a batch whose write failed", true,
         play_durable_with<detail::mistake::acknowledge_failed_write>},
        {"durable-block", "the same, but it forgets what the last block has", true,
         play_durable_with<detail::mistake::forget_last_block>},
        {"durable-renamed", "the same, but it believes that a renamed file is the log's", true,
         play_durable_with<detail::mistake::believe_renamed_file>},
        {"durable-link", "the same, but it follows a link that somebody has planted", true,
         play_durable_with<detail::mistake::follow_planted_link>},
        {"durable-names", "the same, but it writes to a file that has another name", true,
         play_durable_with<detail::mistake::accept_hard_link>},
#endif
        {"logger", "records through a logger whose file is durable, over kills and power cuts",
         false, play_logger},
#ifdef SAPWOOD_TEST_MISTAKES
        {"logger-early", "the same, but it acknowledges before the sync", true,
         play_durable_with<detail::mistake::acknowledge_before_sync, play_logger>},
        {"logger-short", "the same, but it ignores a short write", true,
         play_durable_with<detail::mistake::ignore_short_write, play_logger>},
        {"logger-retry", "the same, but it believes a second sync", true,
         play_durable_with<detail::mistake::retry_sync, play_logger>},
        {"logger-directory", "the same, but it does not sync the directory", true,
         play_durable_with<detail::mistake::forget_directory_sync, play_logger>},
        {"logger-failed", "the same, but it acknowledges a batch whose write failed", true,
         play_durable_with<detail::mistake::acknowledge_failed_write, play_logger>},
        {"logger-renamed", "the same, but it believes that a renamed file is the log's", true,
         play_durable_with<detail::mistake::believe_renamed_file, play_logger>},
        {"logger-link", "the same, but it follows a link that somebody has planted", true,
         play_durable_with<detail::mistake::follow_planted_link, play_logger>},
        {"logger-names", "the same, but it writes to a file that has another name", true,
         play_durable_with<detail::mistake::accept_hard_link, play_logger>},
#endif
        {"pipeline", "records through the pipeline, level written, over kills", false,
         play_pipeline_written},
        {"tiny", "a log of a hundred lines, durable, over kills and power cuts", false,
         play_tiny_with<mistake::none>},
        {"tiny-early", "the same, but it acknowledges before the sync", true,
         play_tiny_with<mistake::acknowledges_before_sync>},
        {"tiny-short", "the same, but it ignores a short write", true,
         play_tiny_with<mistake::ignores_short_write>},
        {"tiny-retry", "the same, but it believes a second sync", true,
         play_tiny_with<mistake::retries_sync>},
        {"tiny-directory", "the same, but it does not sync the directory", true,
         play_tiny_with<mistake::forgets_directory_sync>},
        {"tiny-failed", "the same, but it acknowledges a batch whose write failed", true,
         play_tiny_with<mistake::acknowledges_failed_batch>},
    };
    return all;
}

sim_options options_of(std::uint64_t seed, bool traces) {
    sim_random chance(seed * 0x2545f4914f6cdd1d + 1);
    sim_options options{.seed = seed, .traces = traces};
    options.faults = sim_faults::some(chance);
    if (chance.one_in(2)) {
        options.sq_entries = 1u << chance.below(7);
        options.cq_entries = 2u << chance.below(7);
    }
    return options;
}

std::optional<sim_crash> plan_crash(sim_world& world, std::uint64_t operations_max) {
    sim_random& chance = world.chance();
    if (chance.one_in(6)) {
        return std::nullopt;
    }
    const sim_crash how = chance.one_in(4) ? sim_crash::kill : sim_crash::power_cut;
    world.crash_at(chance.between(1, chance.between(1, operations_max)), how);
    return how;
}

void plan_outage(sim_world& world) {
    sim_random& chance = world.chance();
    if (!chance.one_in(4)) {
        return;
    }
    constexpr int errors[] = {ENOSPC, EDQUOT, EFBIG, EROFS, EPERM, EIO};
    const std::chrono::microseconds from(chance.below(3000));
    world.add({.from = from,
               .to = from + std::chrono::microseconds(chance.below(50'000)),
               .error = errors[chance.below(6)],
               .bytes_left = chance.one_in(2) ? chance.below(3000) : 0});
}

void finish(const sim_world& world, outcome& result) {
    result.trace = world.trace();
    result.digest = world.digest();
    result.operations = world.counts().operations;
    result.crashes = world.counts().crashes;
}

} // namespace sapwood::simulation
