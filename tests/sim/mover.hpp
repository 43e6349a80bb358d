// A mover at a log that is not his. He gives its file, its segments and its directory other names
// and takes them back, removes what he has moved or all of the directory, and plants links, FIFOs
// and second names where the log is, or would make a file. Whatever he does, what was acknowledged
// is on the disk then, under whatever name, unless he has removed it; what he has planted leads
// nobody to another file; and a second after he has put all right again, what is acknowledged is in
// a file with a name of the log's. For one simulated machine, over all its processes.
#pragma once

#include <sapwood/sim_world.hpp>
#include <sapwood/task.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct statx;

namespace sapwood::simulation {

/// Where the log of that seed is; its directory is made in the world.
[[nodiscard]] std::string log_path_of(sim_world& world, std::uint64_t seed);

/// What decides on what he does in that life of the seed's world; nothing where he does not come.
[[nodiscard]] std::optional<std::uint64_t> mover_of(std::uint64_t seed,
                                                    std::uint64_t life) noexcept;

class mover {
  public:
    /// Null where he comes in none of so many lives.
    [[nodiscard]] static std::unique_ptr<mover> of_lives(sim_world& world, const std::string& path,
                                                         std::uint64_t seed, std::uint64_t lives);

    /// Puts a file into the world that is nobody's business.
    mover(sim_world& world, std::string path);

    /// A few times; before something is removed `striking` is called: what was acknowledged until
    /// then is not missed. At the end all is right again, nothing fails any more, and a second has
    /// passed; longer where something had failed before.
    [[nodiscard]] task<> move_about(std::uint64_t seed, std::function<void()> striking);

    /// Between two processes: perhaps he moves the log, and plants something in its place.
    void come_between(sim_random& chance);

    /// What is planted is gone, and the log's directory is where it was, or a new one is.
    void put_right();

    /// Something was removed, now or in an earlier life.
    [[nodiscard]] bool has_destroyed() const noexcept { return has_destroyed_; }

    /// The log's own name leads to what no log may be written to.
    [[nodiscard]] bool is_planted() const;

    /// Whether the directory is not there, or has anything in it that he has planted.
    [[nodiscard]] bool is_in_the_way() const;

    /// Whether what is nobody's business was touched.
    [[nodiscard]] std::optional<std::string> objection() const;

    /// Whether a file with a name of the log's has that line.
    [[nodiscard]] bool is_named(std::string_view line) const;

  private:
    using names = std::vector<std::string>;

    void act(sim_random& chance, const std::function<void()>& striking);
    void move_away(const std::string& from, bool is_far);
    void move_segment(sim_random& chance);
    void take_back(sim_random& chance, const std::function<void()>& striking);
    void remove_moved(sim_random& chance, const std::function<void()>& striking);
    void move_directory();
    void remove_directory(const std::function<void()>& striking);
    void have_directory(bool is_new);
    void plant(sim_random& chance, const std::string& name);
    [[nodiscard]] std::string planted_name(sim_random& chance) const;
    void take_away(const std::string& name);
    [[nodiscard]] names names_in(const std::string& folder) const;
    [[nodiscard]] names moved() const;
    [[nodiscard]] names directories() const;
    [[nodiscard]] bool status_of(const std::string& path, struct ::statx& into) const;
    [[nodiscard]] bool is_there(const std::string& path) const;
    [[nodiscard]] bool may_not_be_log(const std::string& path) const;
    void destroy(const std::string& name, const std::function<void()>& striking);
    void keep_other_name(const std::string& name);
    void sync_directory(const std::string& path);

    sim_world& world_;
    const std::string path_;
    /// Empty where that is the root.
    const std::string folder_;
    std::uint64_t names_ = 0;
    bool has_destroyed_ = false;
};

} // namespace sapwood::simulation
