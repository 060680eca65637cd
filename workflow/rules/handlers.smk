# What a run does before its first job and after its last.


def requested_targets():
    """What the run was asked for; nothing stands for all."""
    return [str(target) for target in workflow.dag_settings.targets]


def remaining_jobs():
    """The jobs of this run, and what each waits for."""
    from mlcslm.plan.duration import PlannedJob

    numbers = {job: number for number, job in enumerate(workflow.dag.needrun_jobs())}
    needed = workflow.dag.dependencies
    return [
        PlannedJob(
            number,
            job.rule.name,
            dict(job.wildcards_dict),
            tuple(numbers[one] for one in needed[job] if one in numbers),
        )
        for job, number in numbers.items()
    ]


onstart:
    try:
        check_results_folder(layout.root)
    except UserError as error:
        raise WorkflowError(str(error))
    if workflow.local_exec:
        from mlcslm.cli.outcome import requested_name
        from mlcslm.plan.duration import forecast

        if notice := forecast(
            preset, remaining_jobs(), workflow.cores, requested_name(layout, requested_targets())
        ):
            logger.info(notice)


# The tables that were asked for, and what to do next.
onsuccess:
    from mlcslm.cli.outcome import show_outcome

    show_outcome(layout, requested_targets())
