// What a durable log says, over all its segments, as somebody reads it who knows its form.
#pragma once

#include <sapwood/lsn.hpp>
#include <sapwood/sim_world.hpp>

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace sapwood::simulation {

class mover;

struct durable_log {
    /// The messages of its records, each with a newline, in order.
    std::string messages;
    /// Those of all whole lines, whatever their numbers are.
    std::string all;
    /// The messages by number.
    std::map<lsn, std::string> places;
    /// What is wrong with its form.
    std::optional<std::string> wrong;

    /// Segments that were set aside count up to the number in their name. `is_recovered`: the log
    /// has been opened since the last crash, and has whole lines only, unless it `may_be_torn`:
    /// somebody else has written to it. It `may_begin_anew` where somebody has taken it away: its
    /// numbers do so then, in another file.
    [[nodiscard]] static durable_log read(const sim_world& world, std::string_view path,
                                          bool is_recovered, bool may_be_torn, bool may_begin_anew);

    /// The same of a log whose files somebody has moved: all that the disk has, under whatever
    /// name; what they have is in `all`. The log has been opened since the last crash.
    /// It `may_be_cut`, or written to by others.
    [[nodiscard]] static durable_log read_moved(sim_world& world, std::string_view path,
                                                bool may_be_cut);

    /// The messages of the segment in the making, up to the first line that is not whole; with it a
    /// writer that was killed has left the log.
    [[nodiscard]] static std::string messages_in_making(const sim_world& world,
                                                        std::string_view path);

  private:
    bool may_be_torn = false;
    bool may_begin_anew = false;
    bool must_be_in_order = false;

    void take(std::string_view text, std::uint64_t end, bool is_recovered);
};

/// The next process opens it, and nothing fails. Where `moved` has been at it, what he has planted
/// is refused first. No number up to `acknowledged` is to come again. What is wrong.
[[nodiscard]] std::optional<std::string> open_again(sim_world& world, std::string path,
                                                    mover* moved, lsn acknowledged = lsn::none);

/// A log that goes on behind `last` gives none of those numbers to another record.
[[nodiscard]] std::optional<std::string> objection_to_last(lsn last, lsn acknowledged);

} // namespace sapwood::simulation
