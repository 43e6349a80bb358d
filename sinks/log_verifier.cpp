#include <sapwood/log_verifier.hpp>

#include "input_files.hpp"
#include "log_tail.hpp"
#include "rotated_files.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <new>
#include <optional>
#include <system_error>
#include <thread>

namespace sapwood {

namespace {

constexpr std::size_t block_bytes = 1u << 20;
constexpr std::uint32_t small_producers = 1u << 16;
/// See preallocation.hpp.
constexpr std::uint64_t zeros_end_at = 4096;
constexpr auto no_lsn = static_cast<lsn>(~std::uint64_t{0});

/// How often a log is listed that is rotated meanwhile each time, or has no name: a log has none
/// for a moment while a segment is begun.
constexpr int looks_max = 100;
constexpr auto look_again_after = std::chrono::milliseconds(10);

/// Where neither it nor its next segment is there: it may have got its name between two looks.
constexpr int looks_for_nothing_max = 4;

/// A decimal number and nothing else; 0 of other texts.
std::uint64_t number_in(std::string_view digits) noexcept {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return error == std::errc() && end == digits.data() + digits.size() ? number : 0;
}

/// The number in a segment's name, `<log>.<16 digits>`, behind which `-2` and so on may stand; none
/// of other names.
lsn segment_number(std::string_view name, std::string_view log) noexcept {
    if (name.size() < log.size() + 1 + numbered_line::lsn_digits || !name.starts_with(log) ||
        name[log.size()] != '.') {
        return lsn::none;
    }
    const std::string_view ending = name.substr(log.size() + 1);
    const std::string_view further = ending.substr(numbered_line::lsn_digits);
    if (!further.empty() && (further.front() != '-' || number_in(further.substr(1)) < 2)) {
        return lsn::none;
    }
    return static_cast<lsn>(number_in(ending.substr(0, numbered_line::lsn_digits)));
}

/// Of two segments of a log. The numbers have the same width, and what stands behind one is longer
/// where it is higher.
bool is_older(const std::string& one, const std::string& other) noexcept {
    const auto number = [](const std::string& path) {
        return std::string_view(path).substr(0, path.rfind('.') + 1 + numbered_line::lsn_digits);
    };
    if (number(one) != number(other)) {
        return number(one) < number(other);
    }
    return one.size() != other.size() ? one.size() < other.size() : one < other;
}

/// A rotated file that is not compressed.
bool is_rotated(std::string_view name, std::string_view log) {
    const auto parsed = detail::parse_rotated_name(name, log);
    return parsed && parsed->what == detail::rotated_file::kind::plain;
}

/// The first number in a file, if it is among the first lines.
lsn first_number(const std::string& path) {
    const detail::input_file file(path);
    std::unique_ptr<char[]> block(new char[block_bytes]);
    std::size_t filled = 0;
    while (filled < block_bytes) {
        const std::size_t got = file.read(block.get() + filled, block_bytes - filled);
        if (got == 0) {
            break;
        }
        filled += got;
    }
    std::string_view rest(block.get(), filled);
    for (auto end = rest.find('\n'); end != rest.npos; end = rest.find('\n')) {
        const auto line = numbered_line::parse(rest.substr(0, end));
        if (line.is == numbered_line::state::whole && line.place != lsn::none) {
            return line.place;
        }
        rest.remove_prefix(end + 1);
    }
    return lsn::none;
}

/// Segments and rotated files, each in their order, in that of their lines: a segment ends before
/// the number in its name.
std::vector<std::string> merged(const std::vector<std::string>& segments,
                                const std::vector<std::string>& rotated, std::string_view log) {
    std::vector<std::string> all;
    auto segment = segments.begin();
    for (const std::string& each : rotated) {
        lsn first = lsn::none;
        try {
            first = first_number(each);
        } catch (const std::system_error& error) {
            if (error.code() == std::errc::no_such_file_or_directory) {
                continue; // housekeeping has removed it since
            }
            throw;
        }
        while (segment != segments.end() &&
               segment_number(std::filesystem::path(*segment).filename().string(), log) <= first) {
            all.push_back(*segment++);
        }
        all.push_back(each);
    }
    all.insert(all.end(), segment, segments.end());
    return all;
}

} // namespace

std::vector<std::string> log_verifier::segments_of(const std::string& path) {
    if (path == standard_input) {
        return {path};
    }
    namespace fs = std::filesystem;
    const fs::path log(path);
    const fs::path folder = log.has_parent_path() ? log.parent_path() : fs::path(".");
    const std::string name = log.filename().string();
    std::vector<std::string> segments;
    std::vector<std::string> rotated;
    std::error_code failure;
    for (fs::directory_iterator each(folder, failure), end; !failure && each != end;
         each.increment(failure)) {
        const std::string found = each->path().filename().string();
        if (segment_number(found, name) != lsn::none) {
            segments.push_back(each->path().string());
        } else if (is_rotated(found, name)) {
            rotated.push_back(each->path().string());
        }
    }
    if (failure) {
        throw std::system_error(failure,
                                fmt::format("cannot read the directory {}", folder.string()));
    }
    std::sort(segments.begin(), segments.end(), is_older);
    std::sort(rotated.begin(), rotated.end()); // by their times
    segments = merged(segments, rotated, name);
    segments.push_back(path);
    return segments;
}

verified_log log_verifier::verify(const std::vector<std::string>& segments) {
    detail::input_files files(segments);
    return read(files);
}

verified_log log_verifier::verify_log(const std::string& path) {
    std::optional<detail::input_files> files;
    int looks_for_nothing = 0;
    for (int look = 1; !files; ++look) {
        const bool is_last = look == looks_max;
        try {
            files.emplace(segments_of(path));
            if (!is_last && files->paths() != segments_of(path)) {
                files.reset(); // a file that was opened may be another one of them by now
            }
        } catch (const std::system_error& error) {
            files.reset();
            std::error_code ignored;
            const bool is_made = std::filesystem::exists(path + ".next", ignored);
            const bool has_name = std::filesystem::exists(path, ignored);
            looks_for_nothing += is_made || has_name ? 0 : 1;
            if (error.code() != std::errc::no_such_file_or_directory || is_last ||
                looks_for_nothing == looks_for_nothing_max) {
                throw;
            }
            if (is_made && !has_name) {
                std::this_thread::sleep_for(look_again_after);
            }
        }
    }
    return read(*files);
}

verified_log log_verifier::read(detail::input_files& files) {
    found_ = {};
    producers_.clear();
    remembered_.reset(static_cast<checksum_of*>(std::calloc(remembered_max, sizeof(checksum_of))));
    if (remembered_ == nullptr) {
        throw std::bad_alloc();
    }
    bytes_done_ = 0;
    bytes_all_ = files.bytes();
    for (std::size_t which = 0; which < files.paths().size(); ++which) {
        const std::string& path = files.paths()[which];
        const auto dot = path.rfind('.');
        const lsn from = dot == path.npos ? lsn::none : segment_number(path, path.substr(0, dot));
        is_last_ = which + 1 == files.paths().size();
        superseded_from_ = from == lsn::none || is_last_ ? no_lsn : from;
        read_segment(files.take(which));
    }
    for (std::size_t id = 0; id < producers_.size(); ++id) {
        if (producers_[id].count != 0) {
            found_.producers.emplace(static_cast<std::uint32_t>(id), producers_[id]);
        }
    }
    return std::move(found_);
}

namespace {

/// A line of which more has been read than is kept.
class long_line {
  public:
    /// What tells whose line it is stands at its beginning.
    static constexpr std::size_t beginning_bytes = 4096;

    explicit long_line(std::string_view first) : beginning(first.substr(0, beginning_bytes)) {
        add(first);
    }

    void add(std::string_view part) {
        parts_.add(part);
        const auto last = part.find_last_not_of('\0');
        bytes_before_zeros = last == part.npos ? bytes_before_zeros : bytes + last + 1;
        bytes += part.size();
    }

    [[nodiscard]] numbered_line parse() const noexcept { return parts_.parse(); }

    const std::string beginning;
    std::uint64_t bytes = 0;
    std::uint64_t bytes_before_zeros = 0;

  private:
    numbered_line_parts parts_;
};

} // namespace

void log_verifier::read_segment(const detail::input_file& file) {
    found_.segments.push_back({.path = file.path()});
    line_ = 0;
    const std::unique_ptr<char[]> block(new char[2 * block_bytes]);
    std::optional<long_line> longer; // whose end is not read yet
    std::size_t kept = 0;            // of a line whose end is not read yet either
    std::uint64_t offset = 0;
    for (;;) {
        const std::size_t got = file.read(block.get() + kept, block_bytes);
        if (got == 0) {
            break;
        }
        const std::string_view text(block.get(), kept + got);
        std::size_t at = 0;
        std::size_t from = kept; // there is no newline before that
        for (;;) {
            const auto newline = text.find('\n', from);
            if (newline == text.npos) {
                break;
            }
            const std::string_view line = text.substr(at, newline - at);
            if (longer) {
                longer->add(line);
                look_at(longer->beginning, longer->parse(), offset, longer->bytes);
                offset += longer->bytes + 1;
                longer.reset();
            } else {
                look_at(line, numbered_line::parse(line), offset, line.size());
                offset += line.size() + 1;
            }
            at = from = newline + 1;
        }
        kept = text.size() - at;
        if (longer) {
            longer->add(text.substr(at));
            kept = 0;
        } else if (kept > block_bytes) {
            longer.emplace(text.substr(at));
            kept = 0;
        }
        std::memmove(block.get(), block.get() + at, kept);
        bytes_done_ += got;
        if (tell_) {
            tell_(bytes_done_, bytes_all_);
        }
    }
    if (!longer) {
        longer.emplace(std::string_view(block.get(), kept));
    }
    const bool is_locked = is_last_ && longer->bytes != 0 && file.is_locked();
    look_at_end(offset, longer->bytes, longer->bytes_before_zeros, is_locked);
    found_.segments.back().bytes = offset + longer->bytes;
}

/// `line` is the beginning of one that has so many bytes, without its newline.
void log_verifier::look_at(std::string_view line, const numbered_line& parsed, std::uint64_t offset,
                           std::uint64_t bytes) {
    ++line_;
    switch (parsed.is) {
    case numbered_line::state::whole:
        if (parsed.place >= superseded_from_) {
            ++found_.superseded;
        } else if (parsed.place == lsn::none) {
            ++found_.own_lines;
        } else {
            count(line, parsed, offset, bytes);
        }
        return;
    case numbered_line::state::broken:
        note_damaged(damaged_piece::kind::broken, offset, bytes + 1);
        return;
    case numbered_line::state::foreign:
        note_damaged(damaged_piece::kind::foreign, offset, bytes + 1);
        return;
    }
}

/// What is behind the last newline, in a log that its writer has open or not.
void log_verifier::look_at_end(std::uint64_t offset, std::uint64_t bytes,
                               std::uint64_t bytes_before_zeros, bool is_being_written) {
    // Space that was preallocated, up to the end of a block.
    if ((offset + bytes) % zeros_end_at == 0) {
        found_.segments.back().preallocated_bytes = bytes - bytes_before_zeros;
        bytes = bytes_before_zeros;
    }
    if (bytes == 0) {
        return;
    }
    ++line_;
    if (is_being_written) {
        found_.unfinished_bytes = bytes;
    } else {
        note_damaged(is_last_ ? damaged_piece::kind::torn : damaged_piece::kind::broken, offset,
                     bytes);
    }
}

void log_verifier::count(std::string_view line, const numbered_line& parsed, std::uint64_t offset,
                         std::uint64_t bytes) {
    const lsn place = parsed.place;
    log_segment& segment = found_.segments.back();
    if (found_.last == lsn::none) {
        found_.first = place;
    } else if (place <= found_.last) {
        count_again(parsed, offset, bytes);
        return;
    } else if (const detail::lsn_range to_here{found_.last + 1, place};
               detail::tells_of_missing(line, to_here)) {
        // It has the number of the last of those that it tells of.
        note_missing(to_here, true);
        ++found_.own_lines;
        found_.last = place;
        remember(parsed);
        return;
    } else if (place > to_here.first) {
        note_missing({to_here.first, place + static_cast<std::uint64_t>(-1)}, false);
    }
    if (segment.lines++ == 0) {
        segment.first = place;
    }
    segment.last = place;
    found_.last = place;
    ++found_.lines;
    remember(parsed);
    count_producer(line, place);
}

/// A number that is not higher than all before.
void log_verifier::count_again(const numbered_line& parsed, std::uint64_t offset,
                               std::uint64_t bytes) {
    const auto& [place, checksum] = remembered_[to_number(parsed.place) % remembered_max];
    const bool is_late = to_number(found_.last) - to_number(parsed.place) < remembered_max &&
                         parsed.place >= found_.first && place != parsed.place;
    if (is_late || (place == parsed.place && checksum != parsed.checksum)) {
        note_damaged(damaged_piece::kind::conflict, offset, bytes + 1);
    } else {
        ++found_.repeated;
    }
}

void log_verifier::remember(const numbered_line& parsed) noexcept {
    remembered_[to_number(parsed.place) % remembered_max] = {parsed.place, parsed.checksum};
}

void log_verifier::count_producer(std::string_view line, lsn place) {
    const auto producer = line_producer::of(line);
    if (!producer.is_known) {
        return;
    }
    producer_records& records = records_of(producer.id);
    if (records.count++ == 0) {
        records.first = place;
    }
    records.last = place;
    if (producer.sequence != 0) {
        if (records.first_sequence == 0) {
            records.first_sequence = producer.sequence;
        } else if (producer.sequence <= records.last_sequence) {
            ++records.sequence_repeats;
            return;
        } else if (producer.sequence != records.last_sequence + 1) {
            ++records.sequence_gaps;
        }
        records.last_sequence = producer.sequence;
    }
}

void log_verifier::note_missing(detail::lsn_range which, bool is_told) {
    const std::uint64_t records = to_number(which.last) - to_number(which.first) + 1;
    (is_told ? found_.missing_records_told : found_.missing_records_untold) += records;
    ++found_.missing_ranges;
    if (found_.missing.size() < listed_max) {
        found_.missing.push_back({.which = which,
                                  .file = found_.segments.back().path,
                                  .line = line_,
                                  .is_told = is_told});
    }
}

/// Not where the next segment has everything that could have stood there.
void log_verifier::note_damaged(damaged_piece::kind kind, std::uint64_t offset,
                                std::uint64_t bytes) {
    if (superseded_from_ != no_lsn && found_.last + 1 >= superseded_from_) {
        ++found_.superseded;
        return;
    }
    ++found_.damaged_pieces;
    found_.damaged_bytes += bytes;
    if (found_.damaged.size() < listed_max) {
        found_.damaged.push_back({.file = found_.segments.back().path,
                                  .line = line_,
                                  .offset = offset,
                                  .bytes = bytes,
                                  .is = kind});
    }
}

producer_records& log_verifier::records_of(std::uint32_t producer) {
    if (producer >= small_producers) {
        return found_.producers[producer];
    }
    if (producer >= producers_.size()) {
        producers_.resize(std::min(small_producers, 2 * producer + 64));
    }
    return producers_[producer];
}

} // namespace sapwood
